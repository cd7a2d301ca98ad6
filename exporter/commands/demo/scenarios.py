"""What the demo can show: how the model behaves, what befalls the GPUs, and what is to be told of it."""

from collections.abc import Mapping

from exporter.commands.demo.engine import Manner
from exporter.commands.demo.gpu import MODELS, Trouble
from exporter.frozen import frozen

TOUR = "tour"
DEFAULT = "healthy"


@frozen
class Scenario:
    """One thing to be seen."""

    sentence: str
    state: str
    """What the verdict on the model comes to, in its own word."""
    model: Manner | None = Manner.WELL
    """None where its process is gone."""
    gpu: Trouble = Trouble.NONE
    gpu_memory: int = MODELS
    seconds: float = 25.0
    """How long it takes to be seen on a tour."""
    well_first: bool = False
    """Whether all is well for a moment first: what was never there is not missed."""


SCENARIOS: Mapping[str, Scenario] = {
    "healthy": Scenario(sentence="A few users, prompts that are answered, a GPU that works.", state="ok", seconds=15.0),
    "busy": Scenario(
        sentence="A queue so long that prompts run out of time, while tokens go on.",
        state="saturated",
        model=Manner.BUSY,
    ),
    "green-but-hung": Scenario(
        sentence="Health is green, requests are held, and no token comes; the GPU is busy at the power of an idle one.",
        state="hung",
        model=Manner.HUNG,
        gpu=Trouble.SPINNING,
        seconds=45.0,
        well_first=True,
    ),
    "garbage": Scenario(
        sentence="Every answer is !!!!!!!!, as of a model whose numbers have gone wrong.",
        state="garbage",
        model=Manner.GARBAGE,
    ),
    "asleep": Scenario(
        sentence="The engine sleeps, its weights are offloaded, and no prompt wakes it.",
        state="asleep",
        model=Manner.ASLEEP,
        gpu_memory=MODELS // 32,
    ),
    "dead": Scenario(
        sentence="The model's process is gone, and nobody listens on its port.",
        state="dead",
        model=None,
        well_first=True,
    ),
    "loading": Scenario(
        sentence="The engine is up and says that it still loads its model.",
        state="loading",
        model=Manner.LOADING,
        gpu_memory=MODELS // 2,
    ),
    "misconfigured": Scenario(
        sentence="The service wants a key that the exporter does not have.",
        state="misconfigured",
        model=Manner.LOCKED,
    ),
    "gpu-hot": Scenario(sentence="The model's GPU is not cooled, and slows down.", state="ok", gpu=Trouble.HOT),
    "gpu-lost": Scenario(
        sentence="The other GPU falls off the bus without a word.",
        state="ok",
        gpu=Trouble.LOST,
        seconds=15.0,
        well_first=True,
    ),
    "xid": Scenario(
        sentence="The other GPU tells of Xid 79, and falls off the bus.",
        state="ok",
        gpu=Trouble.XID,
        seconds=15.0,
        well_first=True,
    ),
    "memory-leak": Scenario(
        sentence="The model's process holds 4 MiB more each second, up to 512.",
        state="ok",
        model=Manner.LEAKING,
        seconds=65.0,  # Unique memory is read once a minute.
    ),
}


def described() -> str:
    """Every scenario with its sentence, a line each."""
    minutes = round(sum(scenario.seconds for scenario in SCENARIOS.values()) / 60)
    sentences = {name: scenario.sentence for name, scenario in SCENARIOS.items()}
    sentences[TOUR] = f"All of these in turn, in {minutes} minutes, and again."
    return "\n".join(f"  {name:16}{sentence}" for name, sentence in sentences.items())
