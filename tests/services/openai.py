"""What a server that speaks the OpenAI API says, for scripts."""

import json

from tests.services.scripted import Answer, reply, stream

CHAT = "/v1/chat/completions"
DONE = b"data: [DONE]\n\n"


def models(*names: str) -> Answer:
    """The list of models."""
    listed = [{"id": name, "object": "model", "owned_by": "tests"} for name in names]
    return reply(json.dumps({"object": "list", "data": listed}), 200, "Content-Type: application/json")


def frame(document: object) -> bytes:
    """One server-sent event that holds JSON."""
    return f"data: {json.dumps(document, ensure_ascii=False)}\n\n".encode()


def piece(finish: str | None = None, usage: object = None, **delta: object) -> bytes:
    """One chunk of a streamed chat, such as `piece(content="four")`."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    chunk: dict[str, object] = {"id": "chat-1", "object": "chat.completion.chunk", "choices": [choice]}
    return frame(chunk | ({} if usage is None else {"usage": usage}))


def spent(output: int, prompt: int = 9) -> dict[str, int]:
    """A usage figure."""
    return {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output}


def last(output: int) -> bytes:
    """The chunk that tells usage and has no choice, as stream_options.include_usage asks for."""
    return frame({"id": "chat-1", "object": "chat.completion.chunk", "choices": [], "usage": spent(output)})


ROLE = piece(role="assistant", content="")
WORDS = (piece(content="The answer"), piece(content=" is"), piece(content=" four."))
STOP = piece(finish="stop")
ANSWER = (ROLE, *WORDS, STOP, last(3), DONE)
GOOD = stream(*ANSWER)
