"""Units of systemd, as the kernel and systemd itself show them to anyone: no bus is asked, and no privilege needed."""

import os
from pathlib import Path
from typing import Self

from exporter.frozen import by_place

KINDS = (".service", ".scope", ".slice")
RUNS = Path("/run/systemd/units")
FOLDERS = tuple(
    Path(place, kind)
    for place in ("/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd", "/lib/systemd")
    for kind in ("system", "user", "transient", "generator", "generator.early", "generator.late")
)
"""Where files of units may lie, but for those of one user alone."""


@by_place
class Unit:
    """A unit by its whole name, such as vllm@llama.service."""

    name: str

    @classmethod
    def named(cls, typed: str) -> Self:
        """The unit that a person means, for whom vllm is vllm.service."""
        return cls(typed if typed.endswith(KINDS) else f"{typed}.service")

    def part_of(self, cgroup: str) -> str | None:
        """The unit's own cgroup, where the given one is that or lies in it."""
        parts = cgroup.split("/")
        # systemd puts a _ before a name that the kernel could take for a file of its own, such as cpu.service.
        at = next((number for number, part in enumerate(parts) if self.name in {part, part.removeprefix("_")}), None)
        return None if at is None else "/".join(parts[: at + 1])

    @property
    def run(self) -> str | None:
        """What tells one run of the unit from the next; None while it does not run, or where it is a user's."""
        try:
            return os.readlink(RUNS / f"invocation:{self.name}")  # noqa: PTH115  it is a word, and not a path
        except OSError:
            return None

    @property
    def installed(self) -> bool:
        """Whether there is a file of it, or of the template that it is made from."""
        stem, _, kind = self.name.rpartition(".")
        template, at, _ = stem.partition("@")
        names = {self.name, f"{template}@.{kind}" if at else self.name}
        return any((folder / name).exists() for folder in FOLDERS for name in names)


def of_a_user(cgroup: str) -> bool:
    """Whether a cgroup is that of a user's own unit, rather than of one of the system's."""
    return any(part.startswith("user@") for part in cgroup.split("/"))
