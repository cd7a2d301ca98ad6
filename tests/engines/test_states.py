"""What an engine says of its own state is understood, and nothing is read into what it does not say."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.engines import ENGINES, Condition, Skip
from exporter.engines.row import Reply
from exporter.paths import Json
from exporter.wire import Recognition, Sight
from tests.services.recorded import body

LLAMA_LOADING = b'{"error":{"message":"Loading model","type":"unavailable_error","code":503}}'
READY, LOADING, SLEEPING, UNHEALTHY = Condition

SLEEP_STATE = """\
# TYPE vllm:engine_sleep_state gauge
vllm:engine_sleep_state{{engine="0",model_name="tiny",sleep_state="awake"}} {first}
vllm:engine_sleep_state{{engine="0",model_name="tiny",sleep_state="weights_offloaded"}} 1.0
vllm:engine_sleep_state{{engine="1",model_name="tiny",sleep_state="awake"}} {second}
"""


@pytest.mark.parametrize(
    ("engine", "status", "said", "meaning"),
    [
        ("vllm", 200, b"", READY),
        ("vllm", 503, b"", UNHEALTHY),
        ("vllm-omni", 503, b'{"status":"unhealthy","reason":"x"}', UNHEALTHY),
        ("sglang", 503, b"", UNHEALTHY),
        ("sglang-diffusion", 503, b"", LOADING),
        ("sglang-diffusion", 503, b'{"status":"unhealthy","error":"a worker died"}', UNHEALTHY),
        ("tgi", 503, b'{"error":"unhealthy","error_type":"healthcheck"}', UNHEALTHY),
        ("tei", 503, b'{"error":"unhealthy","error_type":"Unhealthy"}', UNHEALTHY),
        ("transformers", 503, b'{"status":"unhealthy","reason":"cb_worker_dead"}', UNHEALTHY),
        ("llama-server", 200, b'{"status":"ok"}', READY),
        ("llama-server", 503, LLAMA_LOADING, LOADING),
        ("ollama", 200, b"Ollama is running", READY),
        ("triton", 200, b"", READY),
        ("triton", 400, b"", UNHEALTHY),
        ("triton-openai", 400, b"", UNHEALTHY),
        ("triton-openai", 500, b"", UNHEALTHY),
        ("mlserver", 400, b"", LOADING),
        ("kserve", 503, b'{"error":"Server is not ready."}', LOADING),
        ("trtllm", 503, b"LLM is unavailable", UNHEALTHY),
        ("nim", 503, b"", LOADING),
        ("lmdeploy", 200, b'{"status":"healthy"}', READY),
        ("lmdeploy", 200, b'{"status":"sleeping"}', SLEEPING),
        ("lmdeploy", 503, b'{"status":"unhealthy","message":"x"}', UNHEALTHY),
        ("ray-serve", 503, b"Route table is not populated yet.", LOADING),
        ("ray-serve", 503, b"No replicas are available yet.", LOADING),
        ("ray-serve", 503, b"This node is being drained.", UNHEALTHY),
        ("bentoml", 200, b"\n", READY),
        ("litserve", 503, b"not ready", LOADING),
        ("torchserve", 500, b'{"status":"Unhealthy"}', UNHEALTHY),
        ("gradio", 404, b"", None),
        ("fastapi", 401, b"", None),
        ("unknown", 503, b"still warming up", LOADING),
    ],
)
def test_a_health_answer_means_what_the_engine_means_by_it(
    engine: str, status: int, said: bytes, meaning: Condition | None
) -> None:
    assert ENGINES[engine].condition(status, said) == meaning


def reply(said: object) -> Reply:
    """An answer with this body, JSON where it is no bytes."""
    body = said if isinstance(said, bytes) else json.dumps(said).encode()
    try:
        document: Json = json.loads(body)
    except ValueError:
        document = None
    return Reply(status=200, body=body, document=document)


def skip(engine: str, path: str, said: object, model: str = "tiny") -> str | None:
    """The reason not to ask that an answer to one of an engine's looks gives."""
    look = next(look for look in ENGINES[engine].looks if look.path == path)
    return look.sight(reply(said), Recognition(engine=engine, model=model)).skip


@pytest.mark.parametrize(
    ("server", "reason"), [("llama-server-0.7.0-asleep", Skip.ASLEEP), ("llama-server-0.7.0", None)]
)
def test_a_llama_server_that_sleeps_is_left_asleep(server: str, reason: Skip | None) -> None:
    props = body(str(Path("recognised", server, "get_props")))

    assert skip("llama-server", "/props", props) == reason


def test_a_llama_server_that_loads_is_let_load() -> None:
    assert skip("llama-server", "/props", LLAMA_LOADING) == Skip.LOADING


@pytest.mark.parametrize("model", ["tiny", ""])
def test_a_router_is_not_made_to_load_a_model(model: str) -> None:
    listed = body("recognised/llama-server-0.7.0-router/get_v1_models")

    assert skip("llama-server", "/v1/models", listed, model) == Skip.UNLOADED


@pytest.mark.parametrize(
    ("value", "reason"),
    [("loaded", None), ("loading", Skip.LOADING), ("sleeping", Skip.ASLEEP), ("unloaded", Skip.UNLOADED)],
)
def test_a_router_tells_each_model_s_state(value: str, reason: Skip | None) -> None:
    listed = {"data": [{"id": "tiny", "status": {"value": value}}, {"id": "large", "status": {"value": "unloaded"}}]}

    assert skip("llama-server", "/v1/models", listed) == reason


def test_a_llama_server_of_one_model_has_nothing_to_load() -> None:
    listed = body("recognised/llama-server-0.7.0/get_v1_models")

    assert skip("llama-server", "/v1/models", listed, "/srv/models/tiny.gguf") is None


@pytest.mark.parametrize(
    ("resident", "model", "reason"),
    [
        (["tiny:latest"], "tiny", None),
        (["tiny:latest"], "tiny:latest", None),
        (["tiny:1b"], "tiny", Skip.UNLOADED),
        ([], "tiny", Skip.UNLOADED),
        ([], "", Skip.UNLOADED),
        (["large"], "", None),
    ],
)
def test_an_ollama_is_asked_only_for_what_it_holds_in_memory(
    resident: list[str], model: str, reason: Skip | None
) -> None:
    said = {"models": [{"name": name, "model": name, "size_vram": 1} for name in resident]}

    assert skip("ollama", "/api/ps", said, model) == reason


@pytest.mark.parametrize(("first", "second", "reason"), [(0.0, 0.0, Skip.ASLEEP), (0.0, 1.0, None), (1.0, 1.0, None)])
def test_a_vllm_of_which_no_engine_is_awake_is_left_asleep(first: float, second: float, reason: Skip | None) -> None:
    said = SLEEP_STATE.format(first=first, second=second).encode()

    assert skip("vllm", "/metrics", said) == reason


@pytest.mark.parametrize(("status", "reason"), [("sleeping", Skip.ASLEEP), ("healthy", None)])
def test_an_lmdeploy_that_sleeps_is_left_asleep(status: str, reason: Skip | None) -> None:
    assert skip("lmdeploy", "/health", {"status": status}) == reason


@given(st.integers(min_value=100, max_value=599), st.binary(max_size=64) | st.text(max_size=16).map(str.encode))
def test_any_bytes_are_some_state_or_none(status: int, said: bytes) -> None:
    for engine in ENGINES.values():
        assert engine.condition(status, said) in (*Condition, None)
        for look in engine.looks:
            assert isinstance(look.sight(reply(said), TINY), Sight)


TINY = Recognition(model="tiny", version="0.33.0")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4) | st.sampled_from(["tiny", "0001-01-01T00:00:00Z"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("data", "models", "id", "name", "model", "status", "value", "error", "message"),
                    *("expires_at", "context_length"),
                ]
            ),
            inner,
        )
    ),
    max_leaves=8,
)


@given(VALUES)
def test_any_document_is_some_reason_or_none(said: object) -> None:
    for engine in ENGINES.values():
        for look in engine.looks:
            assert look.sight(reply(said), TINY).skip in (*Skip, None)
