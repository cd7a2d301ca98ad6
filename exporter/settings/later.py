"""What the settings page names and this version does not have: refused as known, never as unknown, never ignored."""

from collections.abc import Sequence

# As the settings page writes them; what stands for every target may stand in a target too.
NAMES = frozenset(
    {
        "web.show_answers",
    }
)


def is_later(names: Sequence[str]) -> bool:
    """Whether a setting, or the section it stands in, is known and not in this version."""
    here = [".".join(names[: length + 1]) for length in range(len(names))]
    return any(name in NAMES or name.removeprefix("targets.") in NAMES for name in here)
