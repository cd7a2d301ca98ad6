"""What a protocol makes of an answer."""

import asyncio
from collections.abc import Sequence

import httpx

from exporter.protocols import PROTOCOLS
from exporter.wire import FAULTS, Delta, Failure, Prompt, failed
from tests.services.client import client
from tests.services.scripted import Service

PROMPT = Prompt(text="Count.", nonce="0a1b2c3d", model="tiny", max_tokens=8)


def heard(protocol: str, service: Service, prompt: Prompt = PROMPT) -> Sequence[Delta]:
    """The pieces of a service's answer."""
    return asyncio.run(_asked(protocol, client(service.url), prompt))


def heard_at_once(protocol: str, body: bytes, kind: str = "", prompt: Prompt = PROMPT) -> Sequence[Delta]:
    """The pieces of an answer, for when many are looked at and none is worth a network."""

    def answered(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"Content-Type": kind}, stream=httpx.ByteStream(body))

    asking = httpx.AsyncClient(transport=httpx.MockTransport(answered), base_url="http://service")
    return asyncio.run(_asked(protocol, asking, prompt))


def fault(protocol: str, service: Service, prompt: Prompt = PROMPT) -> Failure:
    """What the failure of a service's answer is called."""
    try:
        heard(protocol, service, prompt)
    except FAULTS as error:
        return failed(error).failure
    raise AssertionError("it did not fail")


def text(deltas: Sequence[Delta]) -> str:
    """All that was said."""
    return "".join(delta.text for delta in deltas)


async def _asked(protocol: str, asking: httpx.AsyncClient, prompt: Prompt) -> Sequence[Delta]:
    async with asyncio.timeout(20), asking:
        return [delta async for delta in PROTOCOLS[protocol].ask(asking, prompt)]
