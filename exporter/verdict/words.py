"""How a service stands, as a person would say it, and what to try next."""

from collections.abc import Iterator, Mapping

from exporter.verdict.standing import Evidence, Standing, State

MEANINGS: Mapping[State, str] = {
    State.UNKNOWN: "not known yet: no prompt has ended of late",
    State.LOADING: "loading its model",
    State.ASLEEP: "at rest: asleep, unloaded, or unused since it last answered; it is not woken",
    State.OK: "well: prompts are answered in time",
    State.SATURATED: "busy: it works, and has no room for another prompt",
    State.HUNG: "hung: it takes prompts and generates nothing",
    State.FAILING: "failing: it answers prompts with errors",
    State.DEAD: "dead: nobody answers there",
    State.GARBAGE: "answering nonsense: complete answers that fail their checks",
    State.MISCONFIGURED: "not asked as it wants to be: it refuses the prompt",
}

TRIES: Mapping[State, str] = {
    State.UNKNOWN: "wait for the first prompt to end; if none does, look at model_probe_skipped_total",
    State.LOADING: "wait; if it takes longer than it used to, look at the server's log and at its disk",
    State.ASLEEP: "nothing: the next user wakes it",
    State.OK: "nothing",
    State.SATURATED: "look at the queue, at who sends so much, and at the server's limits; add a replica",
    State.HUNG: "save the server's log and a stack dump (py-spy dump), then restart it; look at its GPUs for Xids",
    State.FAILING: "the server's log says what fails; restart it if it was well before",
    State.DEAD: "look whether it was stopped or killed (systemctl status, dmesg for the OOM killer); start it",
    State.GARBAGE: "restart it; if that does not help, look at weights, precision, quantisation and chat template",
    State.MISCONFIGURED: "look at the key, model, prompt.protocol and prompt.path that are set for it",
}

SAYINGS: Mapping[Evidence, str] = {
    Evidence.HEALTH_GREEN: "its health endpoint says that all is well",
    Evidence.TOKENS_ADVANCING: "it generates tokens",
    Evidence.TOKENS_FROZEN: "its count of generated tokens stands still",
    Evidence.PREFILL_ADVANCING: "it reads prompts",
    Evidence.REQUESTS_HELD: "it holds requests of others",
    Evidence.CPU_ADVANCING: "its processes compute",
    Evidence.POWER_IDLE: "its GPUs draw no more power than at rest",
    Evidence.UTILIZATION_HIGH: "a GPU of its says that it is busy all the time",
    Evidence.PROCESS_GONE: "its process is gone",
    Evidence.PROCESS_YOUNG: "its process has started lately",
    Evidence.NO_WITNESS: "nothing else tells whether it generates",
    Evidence.NO_PROMPT: "its health is all that it is asked for",
    Evidence.INTERMITTENT: "a prompt fails now and then",
    Evidence.SHARED_CAUSE: "most services fail alike, so look at the network and at this exporter first",
    Evidence.ASLEEP: "it says that it sleeps, or that nobody uses it",
    Evidence.QUEUE_FULL: "its queue is full",
    Evidence.EXPORTER_LATE: "the exporter itself was late, so that the last prompt was not counted",
}


def meaning(standing: Standing) -> str:
    """What the state means here."""
    run = standing.attempts.run
    unheard = bool(run) and run[-1].state is None and Evidence.NO_WITNESS in standing.evidence
    if standing.state is State.SATURATED and unheard:
        return "busy or hung: no prompt is answered in time, and nothing else tells which"
    if standing.state is State.OK and Evidence.NO_PROMPT in standing.evidence:
        return "well by its own word: no prompt is sent"
    return MEANINGS[standing.state]


def reasons(standing: Standing) -> Iterator[str]:
    """What speaks for the state, the failure first."""
    run, last = standing.attempts.run, standing.seen.last
    if run and last is not None:
        what = "its answers crawl" if last.failed is None else str(last.failed)
        yield what if len(run) == 1 else f"{what}, the {_nth(len(run))} failure in a row"
    yield from (SAYINGS[each] for each in Evidence if each in standing.evidence)


def _nth(number: int) -> str:
    ending = "th" if number % 100 in {11, 12, 13} else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def said(standing: Standing) -> str:
    """The state and what speaks for it, in one sentence."""
    return "; ".join([meaning(standing), *reasons(standing)])
