"""The instances that MIG makes of each GPU: which there are, their memory, and what their units do."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

from exporter.frozen import frozen
from exporter.gpus.gpm import shares
from exporter.nvml import Door, Respondent
from exporter.nvml.gpm import Part, Samples
from exporter.nvml.mig import Instance, instances, memory
from exporter.reading import Gauge, Label, Reading


@frozen
class MigIdentity(Reading):
    """What one instance is."""

    PREFIX = "gpu_mig"
    gpu: Annotated[str, Label("Index on this host of the GPU that is split.")]
    uuid: Annotated[str, Label("UUID of the GPU that is split.")]
    gpu_instance: Annotated[str, Label("Number of the instance on its GPU.")]
    profile: Annotated[str, Label("Share of the GPU that the instance has, such as 1g.10gb.")]
    mig_uuid: Annotated[str, Label("UUID of the MIG device; the first one's where the instance is split once more.")]
    info: Annotated[
        int,
        Gauge(
            "What the instance is, as labels of a constant 1; absent where MIG is off, the instance has no compute "
            "instance, or a container may not see it."
        ),
    ] = 1


@frozen
class Mig(Reading):
    """What one instance holds and does."""

    PREFIX = "gpu_mig"
    gpu: Annotated[str, Label("Index on this host of the GPU that is split.")]
    uuid: Annotated[str, Label("UUID of the GPU that is split.")]
    gpu_instance: Annotated[str, Label("Number of the instance on its GPU.")]
    profile: Annotated[str, Label("Share of the GPU that the instance has, such as 1g.10gb.")]
    memory_total_bytes: Annotated[
        int | None, Gauge("Memory of the instance, which its compute instances share; absent where it is not told.")
    ]
    memory_used_bytes: Annotated[
        int | None, Gauge("Memory of the instance in use by every process; absent where it is not told.")
    ]
    activity_ratio: Annotated[
        Mapping[str, float],
        Gauge(
            "Share of what a unit of the instance can do that it did since the look before; absent before Hopper, and "
            "where the driver refuses it, as to a container without privileges.",
            by="unit",
        ),
    ]


class Instances:
    """The instances of GPUs, and what they did between two looks."""

    def __init__(self, nvml: Door, samples: Samples) -> None:
        self._nvml = nvml
        self._samples = samples

    def read(self, told: Respondent, gpu: str, uuid: str) -> Sequence[Reading]:
        """Two readings for each instance that a GPU has now."""
        found = {_part(uuid, each): each for each in instances(self._nvml, told)}
        self._samples.keep(uuid, found)
        return [reading for part, each in found.items() for reading in self._readings(told, gpu, part, each)]

    def forget(self, uuid: str) -> None:
        """Drop what is remembered of a GPU that has gone, or whose driver is closed."""
        self._samples.forget(uuid)

    def _readings(self, told: Respondent, gpu: str, part: Part, instance: Instance) -> Iterator[Reading]:
        number = str(instance.number)
        held = memory(instance.told)
        yield MigIdentity(
            gpu=gpu, uuid=part.uuid, gpu_instance=number, profile=instance.profile, mig_uuid=part.mig_uuid
        )
        yield Mig(
            gpu=gpu,
            uuid=part.uuid,
            gpu_instance=number,
            profile=instance.profile,
            memory_total_bytes=held.get("total"),
            memory_used_bytes=held.get("used"),
            activity_ratio=self._activity(told, part),
        )

    def _activity(self, told: Respondent, part: Part) -> Mapping[str, float]:
        stretch = self._samples.since(told, part) if self._samples.supported(told, part.uuid) else None
        return shares(stretch) if stretch else {}


def _part(uuid: str, instance: Instance) -> Part:
    return Part(uuid, instance.number, instance.uuids[0])
