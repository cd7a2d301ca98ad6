"""The table of incidents: what was in the public record, and what must be said of it, by when, and why."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest

from exporter.assessor import WAKING
from exporter.verdict.standing import Evidence, Rules, State
from exporter.wire import Failure
from tests.incidents.services import (
    LLAMA,
    MINUTE,
    MUTE,
    SGLANG,
    TGI,
    TRITON,
    VLLM,
    WELL,
    busy,
    cut,
    failing,
    gone,
    hung,
    seen,
    still,
    until,
)
from tests.lives import Life, lived

LATEST = 33.0
"""Seconds between two prompts at most."""
MISSES = 3 * LATEST
WITNESSED = 3 * LATEST + 30.0
"""Three prompts and the deadline of a first token."""
PLAINLY = 2 * LATEST + 30.0
REFUSALS = 2 * LATEST
BLIND = 600.0 + LATEST

GREEN = frozenset({Evidence.HEALTH_GREEN})
FROZEN = GREEN | {Evidence.TOKENS_FROZEN}
HELD = FROZEN | {Evidence.REQUESTS_HELD}
UNSEEN = GREEN | {Evidence.NO_WITNESS}


@dataclass(frozen=True, kw_only=True)
class Incident:
    """A public incident: what the service did from some moment on, and what must be said within so many seconds."""

    name: str
    life: Life
    says: State
    within: float
    because: frozenset[Evidence] = GREEN
    lacking: frozenset[Evidence] = frozenset()
    """What must not be said."""
    rules: Rules = field(default_factory=Rules)

    def __str__(self) -> str:
        return self.name


def stood_still(name: str, life: Life, because: frozenset[Evidence] = FROZEN, *, within: float = WITNESSED) -> Incident:
    """A hang that the service's own counters tell."""
    return Incident(name=name, life=life, says=State.HUNG, within=within, because=because)


def told_nothing(name: str, life: Life, because: frozenset[Evidence] = UNSEEN) -> Incident:
    """A hang of a service whose progress nothing tells."""
    return Incident(name=name, life=life, says=State.HUNG, within=BLIND, because=because)


def broke(name: str, life: Life, because: frozenset[Evidence] = GREEN) -> Incident:
    """Prompts that end in an error."""
    return Incident(name=name, life=life, says=State.FAILING, within=MISSES, because=because)


def babbled(*names: str, failure: Failure = Failure.REPETITIVE) -> Iterator[Incident]:
    """Answers with status 200 that are complete, and nonsense."""
    for name in names:
        life = until(LLAMA, failing(LLAMA, failure))
        yield Incident(name=name, life=life, says=State.GARBAGE, within=MISSES)


SPIN = frozenset({Evidence.UTILIZATION_HIGH})

HANGS = [
    # Twelve days: pod ready, two requests running, no completion.
    stood_still("home-ops#14030", until(VLLM, replace(hung(VLLM), running=2.0)), HELD),
    # A deadlock in decode: prompts are read at 20,000 tokens a second, and no token is generated for ever.
    stood_still(
        "vllm#45094",
        until(VLLM, replace(hung(VLLM), prefills=20_000.0, running=4.0)),
        HELD | {Evidence.PREFILL_ADVANCING},
        within=3 * MINUTE + 2 * LATEST,
    ),
    # The same after its container was restarted: it comes back as it was.
    stood_still(
        "vllm#45094, restarted",
        until(VLLM, (MINUTE, hung(VLLM)), (2 * MINUTE, gone()), replace(hung(VLLM), prefills=20_000.0)),
        FROZEN,
        within=6 * MINUTE + 2 * LATEST,
    ),
    # One request is held for over an hour, and both counts of tokens stand.
    stood_still("vllm#41725", until(VLLM, replace(hung(VLLM), running=1.0)), FROZEN),
    # It answers health and metrics, and lets requests wait.
    stood_still("vllm#2731", until(VLLM, replace(hung(VLLM), waiting=5.0)), HELD),
    # Replicas dead for hours, and by its gauge nothing runs at all.
    Incident(
        name="vllm#37729",
        life=until(VLLM, replace(hung(VLLM), running=0.0)),
        says=State.HUNG,
        within=WITNESSED,
        because=FROZEN,
        lacking=frozenset({Evidence.REQUESTS_HELD}),
    ),
    # A page fault on the GPU, whose power falls to what it draws at rest.
    stood_still(
        "vllm#36960",
        until(
            replace(VLLM, watts=400.0),
            (MINUTE, replace(VLLM, watts=70.0)),
            replace(hung(VLLM), watts=75.0, running=3.0),
        ),
        HELD | {Evidence.POWER_IDLE},
        within=MINUTE + PLAINLY,
    ),
    # The workers crash, and the server goes on answering.
    stood_still("vllm#16259", until(seen(VLLM), seen(hung(VLLM), cores=0.0)), FROZEN),
    # The engine dies; prompts are accepted with status 200 and headers, wait, and nothing follows.
    stood_still("vllm#39863", until(VLLM, replace(hung(VLLM), running=0.0, waiting=3.0)), HELD),
    # They hang with the server's process alive.
    stood_still("vllm#17972", until(seen(VLLM), seen(hung(VLLM))), FROZEN),
    told_nothing("vllm#1492", until(seen(MUTE), seen(hung(MUTE)))),
    # All GPUs spin at 100 % and at full power, and so do the processes.
    stood_still(
        "vllm#12664",
        until(seen(VLLM), replace(seen(hung(VLLM), cores=8.0), watts=500.0, busy=1.0)),
        FROZEN | SPIN | {Evidence.CPU_ADVANCING},
    ),
    # Utilisation of 96 % at 19 W, where work takes 36 W; this GPU tells no limit.
    Incident(
        name="vllm#43885",
        life=until(
            replace(VLLM, watts=36.0, busy=0.96, limit=None),
            replace(hung(VLLM), watts=19.0, busy=0.96, limit=None),
        ),
        says=State.HUNG,
        within=WITNESSED,
        because=FROZEN | SPIN | {Evidence.POWER_IDLE},
    ),
    # Tokens stand, requests are held, and the power is that of rest, whatever utilisation says: the three together.
    stood_still(
        "spark-vllm-docker#260",
        until(
            replace(VLLM, watts=45.0, busy=0.95, limit=140.0),
            (MINUTE, replace(VLLM, watts=12.0, busy=0.0, limit=140.0)),
            (10 * MINUTE, replace(VLLM, watts=45.0, busy=0.95, limit=140.0)),
            replace(hung(VLLM), watts=22.0, busy=0.95, limit=140.0, running=3.0),
        ),
        HELD | SPIN | {Evidence.POWER_IDLE},
        within=11 * MINUTE + PLAINLY,
    ),
    # Three hours with requests that wait and none that runs.
    stood_still("Tanguille/cluster#4593", until(SGLANG, replace(hung(SGLANG), running=0.0, waiting=9.0)), HELD),
    # A worker deadlocks, and the scheduler stands.
    stood_still("gonka#1421, hung", until(VLLM, replace(hung(VLLM), running=6.0)), HELD),
    # 85 minutes behind a proxy that lists its models.
    told_nothing("Fastllm-proxy#19", until(MUTE, hung(MUTE))),
    # A worker is killed, and requests hang until the others give up on it after 6 minutes.
    stood_still("GLM#10", until(VLLM, replace(hung(VLLM), running=2.0)), HELD),
    # Health is 200 while prompts hang.
    stood_still("sglang#4191", until(SGLANG, hung(SGLANG)), FROZEN),
    # The check that generates says 503.
    stood_still(
        "sglang#1270",
        until(SGLANG, replace(hung(SGLANG), health=Failure.STATUS_5XX)),
        frozenset({Evidence.TOKENS_FROZEN}),
    ),
    # Nothing answers any more, its counters neither.
    stood_still(
        "sglang#1612",
        until(SGLANG, replace(hung(SGLANG), health=Failure.TIMEOUT_TOTAL, silent=True)),
        frozenset({Evidence.TOKENS_FROZEN}),
    ),
    # Streams stall in the middle of an answer.
    stood_still("TGI#675", until(TGI, hung(TGI, Failure.TIMEOUT_STALL))),
    stood_still("TGI#2842", until(TGI, hung(TGI))),
    # Wedged for 6 hours: status 200 and headers at once, and never a body.
    told_nothing("omlx#1883", until(MUTE, hung(MUTE))),
    told_nothing("omlx#1884", until(MUTE, (MINUTE, busy(MUTE)), hung(MUTE))),
    told_nothing("omlx#2858", until(MUTE, hung(MUTE, Failure.TIMEOUT_STALL))),
    # The thread that generates has died.
    Incident(
        name="mlx-lm#1791",
        life=until(seen(MUTE), seen(hung(MUTE), cores=0.02)),
        says=State.HUNG,
        within=BLIND,
        because=UNSEEN,
        lacking=frozenset({Evidence.CPU_ADVANCING}),
    ),
    # Dead under load; the whole answer is one body.
    told_nothing("triton#4662", until(TRITON, hung(TRITON, Failure.TIMEOUT_TOTAL))),
]

ERRORS = [
    # A CUDA error, after which every prompt is answered with 500.
    broke("vllm#24207", until(VLLM, failing(still(VLLM), Failure.STATUS_5XX))),
    # The router's child says "Compute error" to every prompt.
    broke("hermes-agent#104050", until(LLAMA, failing(still(LLAMA), Failure.STATUS_5XX))),
    # Ready after an assertion on the GPU.
    broke("triton#3627", until(TRITON, failing(still(TRITON), Failure.STATUS_5XX))),
    # NaN in every embedding, which cannot be written as JSON.
    broke("ollama#9639", until(MUTE, failing(MUTE, Failure.STATUS_5XX))),
    broke("ollama#14657", until(MUTE, failing(MUTE, Failure.STATUS_5XX))),
    broke("ollama#15582", until(MUTE, failing(MUTE, Failure.STREAM_ERROR))),
]

GARBAGE = [
    # `!!!!` from NaN.
    *babbled("vllm#13035", "vllm#14126", "vllm#22881", "vllm#21292"),
    # One token again and again.
    *babbled("llama.cpp#26209", "llama.cpp#5014", "llama.cpp#3750", "ollama#12142", "locallama-mcp#91"),
    # Gibberish after a while.
    *babbled("ollama#14273", "ramalama#247", failure=Failure.UNEXPECTED),
    # Nothing at all, or only thoughts.
    *babbled("locallama-mcp#96", failure=Failure.EMPTY),
    # Vectors of zeros under load, and null ones after hours.
    *babbled("ollama#17878", "llama.cpp#14812", "llama.cpp#13854", failure=Failure.OUT_OF_RANGE),
]

OTHERS = [
    # One request runs and fourteen wait for over an hour, at 5 tokens a second that nobody has asked for.
    Incident(
        name="llm-scaler#391",
        life=until(VLLM, replace(busy(VLLM), generates=5.4, prefills=0.0, running=1.0, waiting=14.0)),
        says=State.SATURATED,
        within=WITNESSED,
        because=GREEN | {Evidence.TOKENS_ADVANCING, Evidence.REQUESTS_HELD},
    ),
    # Requests that were given up crash the scheduler, and the server with it.
    Incident(
        name="sglang#35884",
        life=until(seen(SGLANG), gone(up=False)),
        says=State.DEAD,
        within=REFUSALS,
        because=frozenset({Evidence.PROCESS_GONE}),
    ),
    # A child that ignores SIGTERM keeps the port, and the one after it cannot start; its process is not to be seen.
    Incident(
        name="gone for good",
        life=until(LLAMA, gone()),
        says=State.DEAD,
        within=5 * MINUTE + REFUSALS,
        because=frozenset(),
    ),
    # The exporter's own network is gone for longer than any restart takes.
    Incident(
        name="network cut",
        life=until(VLLM, cut()),
        says=State.DEAD,
        within=5 * MINUTE + REFUSALS,
        because=frozenset({Evidence.SHARED_CAUSE}),
    ),
]


@pytest.mark.parametrize("incident", [*HANGS, *ERRORS, *GARBAGE, *OTHERS], ids=str)
def test_an_incident_is_told_in_time_for_what_it_is(incident: Incident) -> None:
    told = lived(incident.life, WELL + incident.within + 2 * MINUTE, incident.rules)

    first = told.first(incident.says, after=WELL)
    assert first is not None, told.changes
    assert first <= WELL + incident.within
    assert told.state is incident.says
    assert WAKING & set(told.states) <= {incident.says}
    assert incident.because <= told.evidence
    assert not incident.lacking & told.evidence
