"""What moves between a GPU and the rest of the machine: over PCIe, and over NVLink where there is some."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Self

from exporter.frozen import by_place, frozen
from exporter.nvml import Respondent, within
from exporter.nvml.fields import EVERY_LINK, Field, values
from exporter.reading import Counter, Gauge, Label, Reading

LINKS = 91
PCIE_TRANSMITTED, PCIE_RECEIVED = 197, 198
NVLINK_TRANSMITTED, NVLINK_RECEIVED = (202, EVERY_LINK), (204, EVERY_LINK)
NVLINK_TRANSMITTED_KIB, NVLINK_RECEIVED_KIB = (138, EVERY_LINK), (139, EVERY_LINK)
ALWAYS: Sequence[Field] = (
    *(LINKS, PCIE_TRANSMITTED, PCIE_RECEIVED),
    *(NVLINK_TRANSMITTED, NVLINK_RECEIVED, NVLINK_TRANSMITTED_KIB, NVLINK_RECEIVED_KIB),
)

ERRORS = {"replay": 161, "recovery": 162, "crc": 163}
"""Of one link each; the checksums are those of flits, or of flits and data, as the chip counts them."""

TOTALS = {"replay": 52, "recovery": 59, "crc": 38}
"""Of all links, for drivers before 525."""

KIB = 1024
WRAPS_AT = 1 << 32
MOST_LINKS = 64
NEWEST_PCIE = 15
WIDEST_PCIE = 32


@frozen
class GpuLinks(Reading):
    """What one GPU sends and receives, and how well that goes."""

    PREFIX = "gpu"
    gpu: Annotated[str, Label("Index on this host.")]
    uuid: Annotated[str, Label("UUID, the same across restarts.")]
    bar1_total_bytes: Annotated[
        int | None, Gauge("Window through which PCIe reaches the board's memory; absent where there is none.")
    ]
    bar1_used_bytes: Annotated[
        int | None, Gauge("Part of that window that is taken; absent where there is no such window.")
    ]
    pcie_transmitted_bytes: Annotated[
        int | None,
        Counter(
            "Sent over PCIe, with what the protocol adds; boards that count no further than 4 GiB lose what is more "
            "between two looks; absent before driver 555 and where it is not counted."
        ),
    ]
    pcie_received_bytes: Annotated[
        int | None,
        Counter(
            "Received over PCIe, with what the protocol adds; boards that count no further than 4 GiB lose what is "
            "more between two looks; absent before driver 555 and where it is not counted."
        ),
    ]
    pcie_link_generation: Annotated[
        int | None,
        Gauge("PCIe generation that the link runs at, lower at rest on many boards; absent where it is not told."),
    ]
    pcie_link_width: Annotated[
        int | None, Gauge("PCIe lanes in use, fewer than usual where a slot is bad; absent where it is not told.")
    ]
    nvlink_transmitted_bytes: Annotated[int | None, Counter("Sent over all links of NVLink; absent without NVLink.")]
    nvlink_received_bytes: Annotated[int | None, Counter("Received over all links of NVLink; absent without NVLink.")]


@frozen
class GpuLinkErrors(Reading):
    """What went wrong on the links of one GPU."""

    PREFIX = "gpu"
    gpu: Annotated[str, Label("Index on this host.")]
    uuid: Annotated[str, Label("UUID, the same across restarts.")]
    nvlink_errors: Annotated[
        Mapping[str, int],
        Counter(
            "Errors on all links of NVLink, of which recovery is the gravest; absent without NVLink and where the chip "
            "does not count them.",
            by="error",
        ),
    ]


@by_place
class Unbroken:
    """A count that goes on where the board's own began again."""

    last: int
    total: int

    def then(self, told: int) -> Self:
        """This count, after the board has told its own once more."""
        began_at = self.last if told >= self.last else self.last - max(self.last, WRAPS_AT)
        return type(self)(told, self.total + told - began_at)


@dataclass(slots=True)
class Past:
    """What one GPU told before."""

    links: int = 0
    counts: dict[Field, Unbroken] = field(default_factory=dict)


class Links:
    """What GPUs send and receive, in counts that go on where a board's own wraps."""

    def __init__(self) -> None:
        self._past: dict[str, Past] = {}

    def read(self, told: Respondent, gpu: str, uuid: str) -> GpuLinks:
        """What one GPU sent and received; for the medium tier, the more often the less is lost."""
        past = self._past.setdefault(uuid, Past())
        found = values(told, *ALWAYS)
        past.links = _links(found)
        window = _window(told)
        return GpuLinks(
            gpu=gpu,
            uuid=uuid,
            bar1_total_bytes=window.get("bar1Total"),
            bar1_used_bytes=window.get("bar1Used"),
            pcie_transmitted_bytes=_unbroken(past, found, PCIE_TRANSMITTED),
            pcie_received_bytes=_unbroken(past, found, PCIE_RECEIVED),
            pcie_link_generation=within(told.number("nvmlDeviceGetCurrPcieLinkGeneration"), NEWEST_PCIE, least=1),
            pcie_link_width=within(told.number("nvmlDeviceGetCurrPcieLinkWidth"), WIDEST_PCIE, least=1),
            nvlink_transmitted_bytes=_moved(past, found, NVLINK_TRANSMITTED, NVLINK_TRANSMITTED_KIB),
            nvlink_received_bytes=_moved(past, found, NVLINK_RECEIVED, NVLINK_RECEIVED_KIB),
        )

    def errors(self, told: Respondent, gpu: str, uuid: str) -> GpuLinkErrors:
        """What went wrong; for a tier of its own, since three counts of each of up to 18 links are dear to ask."""
        past = self._past.setdefault(uuid, Past())
        return GpuLinkErrors(gpu=gpu, uuid=uuid, nvlink_errors=_errors(past, _found(told, past)))

    def forget(self, uuid: str) -> None:
        """Drop what is remembered of a GPU that has gone."""
        self._past.pop(uuid, None)


def _found(told: Respondent, past: Past) -> Mapping[Field, int]:
    """One call, and another where there are more or fewer links than the last time."""
    found = values(told, LINKS, *_of_links(past.links))
    links = _links(found)
    if links == past.links:
        return found
    past.links = links
    return {**found, **values(told, *_of_links(links))} if links else found


def _links(found: Mapping[Field, int]) -> int:
    return within(found.get(LINKS), MOST_LINKS) or 0


@cache  # The same at every look.
def _of_links(links: int) -> Sequence[Field]:
    each = [link for error in ERRORS for link in _of_each_link(error, links)]
    return (*each, *TOTALS.values()) if links else ()


@cache
def _of_each_link(error: str, links: int) -> Sequence[Field]:
    return tuple((ERRORS[error], link) for link in range(links))


def _unbroken(past: Past, found: Mapping[Field, int], counter: Field) -> int | None:
    if counter not in found:
        return None
    told = found[counter]
    past.counts[counter] = past.counts.get(counter, Unbroken(told, told)).then(told)
    return past.counts[counter].total


def _moved(past: Past, found: Mapping[Field, int], in_bytes: Field, in_kib: Field) -> int | None:
    if not past.links:
        return None
    kib = found.get(in_kib)
    return found.get(in_bytes, None if kib is None else kib * KIB)


def _errors(past: Past, found: Mapping[Field, int]) -> Mapping[str, int]:
    counted = {error: _sum(found, error, past.links) for error in ERRORS}
    return {error: count for error, count in counted.items() if count is not None}


def _sum(found: Mapping[Field, int], error: str, links: int) -> int | None:
    """Over the links that tell, since one that leads nowhere does not."""
    each = [found[link] for link in _of_each_link(error, links) if link in found]
    return sum(each) if each else found.get(TOTALS[error]) if links else None


def _window(told: Respondent) -> Mapping[str | int, int]:
    window = told.numbers("nvmlDeviceGetBAR1MemoryInfo")
    total = window.get("bar1Total", 0)
    return window if total and window.get("bar1Used", 0) <= total else {}
