"""KServe's protocol: what a model is asked, and what its tensors say; and Triton's generate extension."""

import asyncio
import json
import math
from collections.abc import Sequence

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.paths import Json
from exporter.protocols.kserve import MOST_VALUES, infer
from exporter.wire import FAULTS, Delta, Failure, Prompt, failed
from tests.protocols import fault, heard, heard_at_once, text
from tests.services.recorded import body, recorded
from tests.services.scripted import STREAM_HEAD, Answer, Ending, Service, Stage, chunks, reply, script, stream

METADATA = "GET /v2/models/tiny"
INFER = "POST /v2/models/tiny/infer"
GENERATE = "POST /v2/models/tiny/generate_stream"
TINY = Prompt(text="hello", nonce="0a1b2c3d", model="tiny")
ASKED = Prompt(model="tiny", body={"inputs": []})
TENSOR: Json = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}


def sent(service: Service) -> object:
    (request,) = service.asked("POST")
    return json.loads(request.body)


def taking(*inputs: object) -> Answer:
    """The metadata of a model that takes these inputs."""
    return reply(json.dumps({"name": "tiny", "platform": "python", "inputs": inputs, "outputs": []}))


def taken(shape: object, kind: object = "FP32") -> dict[str, object]:
    return {"name": "x", "datatype": kind, "shape": shape}


def outputs(*data: object) -> Answer:
    """The answer of a model with these outputs."""
    told = [{"name": f"y{index}", "datatype": "FP32", "shape": [1], "data": it} for index, it in enumerate(data)]
    return reply(json.dumps({"model_name": "tiny", "outputs": told}))


def test_the_numbers_of_a_real_triton_are_a_vector(stage: Stage) -> None:
    service = stage.serve(recorded("triton-2.51/infer"))

    (answer,) = heard("kserve", service, Prompt(model="double", body={"inputs": [TENSOR]}))

    assert answer.vectors == ((2.0, 4.0),)
    assert answer.whole
    assert answer.size == len(body("triton-2.51/infer"))
    assert sent(service) == {"inputs": [TENSOR]}


def test_the_numbers_of_a_real_mlserver_are_a_vector(stage: Stage) -> None:
    service = stage.serve(recorded("mlserver-1.7.1/infer"))

    (answer,) = heard("kserve", service, Prompt(model="echo", body={"inputs": []}))

    assert answer.vectors == ((6.0,),)


def test_a_real_model_is_asked_the_least_that_its_metadata_allows(stage: Stage) -> None:
    service = stage.serve({**recorded("triton-2.51/get_v2_models_double"), **recorded("triton-2.51/infer")})

    heard("kserve", service, Prompt(model="double"))

    assert sent(service) == {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1]}]}


def test_a_real_model_that_takes_a_text_is_asked_the_prompt(stage: Stage) -> None:
    service = stage.serve({**recorded("triton-2.51/get_v2_models_cls"), **recorded("triton-2.51/infer_cls")})

    (answer,) = heard("kserve", service, Prompt(model="cls", text="hello ${nonce}", nonce="7"))

    assert answer.text == "positive"
    assert answer.vectors == ((0.8999999761581421, 0.10000000149011612),)
    assert sent(service) == {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1, 1], "data": ["hello 7"]}]}


@pytest.mark.parametrize(
    ("name", "model", "failure"),
    [
        ("triton-2.51/infer_bad", "double", Failure.STATUS_5XX),
        ("triton-2.51/infer_wrong_model", "nope", Failure.NOT_FOUND),
        ("triton-pytriton-0.7.0-modelloading/infer", "double", Failure.NOT_FOUND),
        ("mlserver-1.7.1/infer_bad", "echo", Failure.STATUS_4XX),
        ("mlserver-1.7.1/infer_wrong_model", "nope", Failure.NOT_FOUND),
    ],
)
def test_the_refusal_of_a_real_server_has_its_reason(name: str, model: str, failure: Failure, stage: Stage) -> None:
    service = stage.serve(recorded(name))

    assert fault("kserve", service, Prompt(model=model, body={"inputs": []})) is failure


def test_a_real_server_that_has_not_loaded_the_model_does_not_know_it(stage: Stage) -> None:
    service = stage.serve(recorded("triton-pytriton-0.7.0-modelloading/get_v2_models_double"))

    assert fault("kserve", service, Prompt(model="double")) is Failure.NOT_FOUND


def test_a_real_model_that_does_not_say_what_it_takes_wants_a_body(stage: Stage) -> None:
    service = stage.serve(recorded("mlserver-1.7.1/get_v2_models_echo"))

    assert fault("kserve", service, Prompt(model="echo")) is Failure.UNEXPECTED
    assert service.asked("POST") == []


@pytest.mark.parametrize(
    ("shape", "kind", "expected"),
    [
        ([-1], "BYTES", {"shape": [1], "data": ["hello"]}),
        ([1, 2], "BYTES", {"shape": [1, 2], "data": ["hello", "hello"]}),
        ([-1, 3], "INT64", {"shape": [1, 3], "data": [1, 1, 1]}),
        ([2], "BOOL", {"shape": [2], "data": [True, True]}),
        ([], "UINT8", {"shape": [], "data": [1]}),
        ([1, MOST_VALUES], "FP64", {"shape": [1, MOST_VALUES], "data": [1] * MOST_VALUES}),
    ],
)
def test_a_tensor_is_filled_to_its_shape(
    shape: Sequence[int], kind: str, expected: dict[str, object], stage: Stage
) -> None:
    service = stage.serve({METADATA: taking(taken(shape, kind)), INFER: outputs([1])})

    heard("kserve", service, TINY)

    assert sent(service) == {"inputs": [{"name": "x", "datatype": kind, **expected}]}


@pytest.mark.parametrize(
    ("inputs", "failure"),
    [
        ([], Failure.UNEXPECTED),
        ([taken([1], "FP16")], Failure.UNEXPECTED),
        ([taken([MOST_VALUES + 1])], Failure.UNEXPECTED),
        ([taken([2**60] * 5000)], Failure.UNEXPECTED),
        ([taken([MOST_VALUES])] * 2, Failure.UNEXPECTED),
        ([taken("wide")], Failure.INVALID),
        ([taken(["wide"])], Failure.INVALID),
        ([taken([1], None)], Failure.INVALID),
        (["x"], Failure.INVALID),
    ],
)
def test_where_nothing_can_be_made_up_nothing_is_asked(
    inputs: Sequence[object], failure: Failure, stage: Stage
) -> None:
    service = stage.serve({METADATA: taking(*inputs)})

    assert fault("kserve", service, TINY) is failure
    assert service.asked("POST") == []


def test_a_body_is_the_whole_request_with_its_marks_filled_in(stage: Stage) -> None:
    service = stage.serve({INFER: outputs([1])})

    heard(
        "kserve", service, Prompt(text="hello", nonce="7", model="tiny", body={"id": "${nonce}", "inputs": ["${text}"]})
    )

    assert sent(service) == {"id": "7", "inputs": ["hello"]}
    assert service.asked("GET") == []


def test_the_path_may_name_a_version_and_metadata_are_asked_of_it_too(stage: Stage) -> None:
    path = "/v2/models/tiny/versions/2"
    service = stage.serve({f"GET {path}": taking(taken([1])), f"POST {path}/infer": outputs([1])})

    heard("kserve", service, Prompt(path=f"{path}/infer", headers={"X-Key": "key"}))

    assert [(it.method, it.headers["x-key"]) for it in service.requests] == [("GET", "key"), ("POST", "key")]


def test_the_name_of_a_model_is_one_part_of_the_path(stage: Stage) -> None:
    service = stage.serve({"POST /v2/models/team%2Ftiny%3F/infer": outputs([1])})

    assert heard("kserve", service, Prompt(model="team/tiny?", body={}))


@pytest.mark.parametrize("protocol", ["kserve", "triton-generate"])
def test_without_a_model_there_is_nothing_to_ask(protocol: str, stage: Stage) -> None:
    service = stage.serve({})

    assert fault(protocol, service, Prompt(body={})) is Failure.NOT_FOUND
    assert service.requests == []


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([["four"]], Delta(text="four")),
        ([["fo", "ur"], ["five"]], Delta(text="fo\nur\nfive")),
        ([[[1, 2], [3, 4]]], Delta(vectors=((1.0, 2.0, 3.0, 4.0),))),
        ([[1], [2.5, True]], Delta(vectors=((1.0,), (2.5, 1.0)))),
        ([["four"], [0]], Delta(text="four", vectors=((0.0,),))),
        ([4], Delta(vectors=((4.0,),))),
        ([[]], Delta()),
        ([], Delta()),
    ],
)
def test_outputs_are_text_or_vectors(told: Sequence[object], expected: Delta, stage: Stage) -> None:
    (answer,) = heard("kserve", stage.serve({INFER: outputs(*told)}), ASKED)

    assert (answer.text, answer.vectors) == (expected.text, expected.vectors)


def test_a_null_among_numbers_is_not_a_number(stage: Stage) -> None:
    (answer,) = heard("kserve", stage.serve({INFER: outputs([1, None])}), ASKED)

    assert answer.vectors[0][0] == 1.0
    assert math.isnan(answer.vectors[0][1])


@pytest.mark.parametrize(
    ("told", "failure"),
    [
        ('{"error": "boom"}', Failure.STREAM_ERROR),
        ('{"outputs": [{"data": [1, "four"]}]}', Failure.INVALID),
        ('{"outputs": [{"data": {"a": 1}}]}', Failure.INVALID),
        ('{"outputs": [{"data": [1%s]}]}' % ("0" * 400), Failure.INVALID),
        ('{"outputs": null}', Failure.INVALID),
        ("[]", Failure.INVALID),
        ("<html>", Failure.INVALID),
    ],
)
def test_an_answer_without_outputs_is_a_failure(told: str, failure: Failure, stage: Stage) -> None:
    assert fault("kserve", stage.serve({INFER: reply(told)}), ASKED) is failure


def test_a_real_triton_says_its_text_piece_by_piece(stage: Stage) -> None:
    service = stage.serve(recorded("triton-2.51/generate_stream"))

    pieces = heard("triton-generate", service, Prompt(model="talk", text="hello", nonce="7", max_tokens=8))

    assert [piece.text for piece in pieces] == ["it ", "is ", "four ", "of ", "them "]
    assert not any(piece.whole for piece in pieces)
    assert sent(service) == {"text_input": "7 hello", "parameters": {"max_tokens": 8, "stream": True}}


@pytest.mark.parametrize(
    ("name", "model", "path", "failure"),
    [
        ("generate_stream_error", "talk", None, Failure.STREAM_ERROR),
        ("generate_stream_wrong_model", "nope", None, Failure.NOT_FOUND),
        ("generate", None, "/v2/models/talk/generate", Failure.STREAM_ERROR),
    ],
)
def test_the_failure_of_a_real_triton_has_its_reason(
    name: str, model: str | None, path: str | None, failure: Failure, stage: Stage
) -> None:
    service = stage.serve(recorded(f"triton-2.51/{name}"))

    assert fault("triton-generate", service, Prompt(model=model, path=path)) is failure


def test_further_fields_of_the_body_go_along_and_win(stage: Stage) -> None:
    service = stage.serve({GENERATE: stream(b'data: {"text_output": "four"}\n\n')})
    fields: Json = {"parameters": {"stream": False}, "max_tokens": 4}

    heard("triton-generate", service, Prompt(text="hello", model="tiny", body=fields))

    assert sent(service) == {"text_input": "hello", "parameters": {"stream": False}, "max_tokens": 4}


def test_a_text_that_comes_as_one_body_is_whole(stage: Stage) -> None:
    service = stage.serve({GENERATE: reply('{"text_output": "four"}', 200, "Content-Type: application/json")})

    assert heard("triton-generate", service, TINY) == [Delta(text="four", whole=True)]


def test_a_text_may_come_in_several_parts(stage: Stage) -> None:
    service = stage.serve({GENERATE: stream(b'data: {"text_output": ["fo", "ur"]}\n\n')})

    assert text(heard("triton-generate", service, TINY)) == "four"


@pytest.mark.parametrize(
    ("frame", "failure"),
    [
        (b"data: {}\n\n", Failure.INVALID),
        (b'data: {"text_output": 4}\n\n', Failure.INVALID),
        (b"data: [DONE]\n\n", Failure.INVALID),
        (b'data: {"error": "boom"}\n\n', Failure.STREAM_ERROR),
    ],
)
def test_a_piece_without_text_is_a_failure(frame: bytes, failure: Failure, stage: Stage) -> None:
    assert fault("triton-generate", stage.serve({GENERATE: stream(frame)}), TINY) is failure


@pytest.mark.parametrize("ending", [(), (Ending.RESET,)])
def test_a_stream_that_is_cut_is_no_answer(ending: tuple[Ending, ...], stage: Stage) -> None:
    service = stage.serve({GENERATE: script(STREAM_HEAD, *chunks(b'data: {"text_output": "fo"}\n\n'), *ending)})

    assert fault("triton-generate", service, TINY) is Failure.DISCONNECTED


async def _asked(metadata: bytes, answer: bytes, prompt: Prompt) -> Sequence[Delta]:
    def answered(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=httpx.ByteStream(metadata if request.method == "GET" else answer))

    async with httpx.AsyncClient(transport=httpx.MockTransport(answered), base_url="http://service") as asking:
        return [delta async for delta in infer(asking, prompt)]


def outcome(*, metadata: bytes = b"", answer: bytes = b'{"outputs": []}', prompt: Prompt = TINY) -> Failure | None:
    """What an inference comes to, for when many are looked at and none is worth a network."""
    try:
        asyncio.run(_asked(metadata, answer, prompt))
    except FAULTS as error:
        return failed(error).failure
    return None


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["inputs", "outputs", "data", "error", "text_output"]), inner, max_size=3)
        | st.fixed_dictionaries({"outputs": st.lists(st.fixed_dictionaries({"data": inner}), max_size=2)})
        | st.fixed_dictionaries(
            {
                "inputs": st.lists(
                    st.fixed_dictionaries(
                        {
                            "name": inner,
                            "datatype": st.sampled_from(["BYTES", "FP32", "BOOL", "FP16"]) | inner,
                            "shape": st.lists(st.integers() | inner, max_size=3),
                        }
                    ),
                    max_size=2,
                )
            }
        )
    ),
    max_leaves=12,
)
bodies = anything.map(lambda document: json.dumps(document).encode()) | st.binary(max_size=20)


@settings(deadline=None)
@given(told=bodies)
def test_no_answer_does_worse_than_fail(told: bytes) -> None:
    assert outcome(metadata=told) in {None, *Failure}
    assert outcome(answer=told, prompt=ASKED) in {None, *Failure}


@settings(deadline=None)
@given(
    told=st.lists(bodies.map(lambda it: b"data: %b\n\n" % it), max_size=3).map(b"".join) | bodies,
    kind=st.sampled_from(["text/event-stream; charset=utf-8", "application/json", ""]),
)
def test_no_text_does_worse_than_fail(told: bytes, kind: str) -> None:
    try:
        said = heard_at_once("triton-generate", told, kind, TINY)
    except FAULTS:
        return
    assert all(isinstance(delta, Delta) for delta in said)


@pytest.mark.parametrize("depth", range(860, 1010, 10))
def test_no_depth_of_nesting_does_worse_than_fail(depth: int) -> None:
    nested = b"[" * depth + b"1" + b"]" * depth

    assert outcome(answer=b'{"outputs": [{"data": %b}]}' % nested, prompt=ASKED) in {None, Failure.INVALID}
    assert outcome(metadata=b'{"inputs": [{"name": "x", "shape": %b}]}' % nested) is Failure.INVALID
