"""The verdict as a panel can show it: a number for each state, and the word and colour that stand for it."""

from collections.abc import Mapping

from grafana_foundation_sdk.models import dashboard

from deploy.grafana.make.panels import meaning
from exporter.verdict.standing import State
from exporter.verdict.words import MEANINGS

COLORS: Mapping[State, str] = {
    State.UNKNOWN: "#8e8e8e",
    State.LOADING: "blue",
    State.ASLEEP: "purple",
    State.OK: "green",
    State.SATURATED: "yellow",
    State.HUNG: "dark-red",
    State.FAILING: "red",
    State.DEAD: "#5a0f0f",
    State.GARBAGE: "#e02f9c",
    State.MISCONFIGURED: "orange",
}
NUMBERS: Mapping[State, int] = {state: number for number, state in enumerate(State)}
MEANING = "\n".join(f"- **{state}**: {MEANINGS[state].removeprefix(f'{state}: ')}" for state in State)


def numbered(by: str) -> str:
    """Which state each service is in, as the number of that state."""
    codes = " or ".join(
        f'label_replace(vector({number}), "state", "{state}", "", "")' for state, number in NUMBERS.items()
    )
    return f"max by ({by}) (model_state * on (state) group_left () ({codes}))"


def words() -> dashboard.ValueMapping:
    """Each number's state and its colour."""
    return meaning({number: (state.value, COLORS[state]) for state, number in NUMBERS.items()})
