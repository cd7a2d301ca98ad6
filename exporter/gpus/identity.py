"""What each GPU is, and the driver that tells of it."""

from typing import Annotated

from exporter.frozen import frozen
from exporter.nvml import Respondent
from exporter.reading import Gauge, Label, Reading

ARCHITECTURES = {
    2: "Kepler",
    3: "Maxwell",
    4: "Pascal",
    5: "Volta",
    6: "Turing",
    7: "Ampere",
    8: "Ada",
    9: "Hopper",
    10: "Blackwell",
    13: "Rubin",
}


@frozen
class GpuDriver(Reading):
    """The driver, and what else has a version of its own."""

    PREFIX = "gpu_driver"
    driver: Annotated[str, Label("Version of the driver.")]
    cuda: Annotated[str, Label("Newest CUDA that the driver runs.")]
    nvml: Annotated[str, Label("Version of the driver's management library.")]
    info: Annotated[int, Gauge("The driver's versions, as labels of a constant 1; absent where no driver answers.")] = 1


@frozen
class GpuIdentity(Reading):
    """What one GPU is."""

    PREFIX = "gpu"
    gpu: Annotated[str, Label("Index on this host.")]
    uuid: Annotated[str, Label("UUID, the same across restarts.")]
    name: Annotated[str, Label("Product name.")]
    pci_bus_id: Annotated[str, Label("Address on the PCI bus.")]
    serial: Annotated[str, Label("Serial number, where the board has one.")]
    vbios: Annotated[str, Label("Version of the board's firmware.")]
    architecture: Annotated[str, Label("Generation of the chip, such as Hopper.")]
    compute_capability: Annotated[str, Label("What CUDA code the chip runs, such as 9.0.")]
    info: Annotated[int, Gauge("What the GPU is, as labels of a constant 1; absent while it is lost or suspended.")] = 1


def driver(told: Respondent) -> GpuDriver:
    """The driver's versions."""
    cuda = told.number("nvmlSystemGetCudaDriverVersion")
    return GpuDriver(
        driver=told.text("nvmlSystemGetDriverVersion"),
        cuda=f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else "",
        nvml=told.text("nvmlSystemGetNVMLVersion"),
    )


def read(told: Respondent, gpu: str, uuid: str) -> GpuIdentity:
    """What one GPU is."""
    architecture = told.number("nvmlDeviceGetArchitecture")
    capability = told.numbers("nvmlDeviceGetCudaComputeCapability")
    return GpuIdentity(
        gpu=gpu,
        uuid=uuid,
        name=told.text("nvmlDeviceGetName"),
        pci_bus_id=bus_id(told),
        serial=told.text("nvmlDeviceGetSerial"),
        vbios=told.text("nvmlDeviceGetVbiosVersion"),
        architecture=ARCHITECTURES.get(architecture, "") if architecture else "",
        compute_capability=".".join(map(str, capability.values())),
    )


def bus_id(told: Respondent) -> str:
    """Where the GPU is on the PCI bus; empty where the driver cannot say."""
    return told.text("nvmlDeviceGetPciInfo", part="busId")
