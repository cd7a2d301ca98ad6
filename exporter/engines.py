"""How a service is recognised from its URL alone."""

import asyncio
from collections.abc import Mapping

import httpx

from exporter.paths import Json
from exporter.wire import FAULTS, Failed, Failure, Recognition, accepted, failed, opened, parsed, whole

MODELS = "/v1/models"
PATIENCE = 5.0
LONGEST_NAME = 512


async def recognised(
    client: httpx.AsyncClient, headers: Mapping[str, str], *, protocol: str | None, model: str | None
) -> Recognition | None:
    """What a service is, by what was set for it and by the models it lists; None where neither says how to ask it.

    Sends one GET of /v1/models, and none where both the protocol and the model are known.
    """
    if protocol == "plain" or (protocol is not None and model is not None):
        return Recognition(protocol=protocol, model=model or "", evidence="the configuration")
    try:
        listed = await _first_model(client, headers)
    except Failed:  # a key is needed
        return Recognition(protocol=protocol or "", evidence=f"GET {MODELS} wants a key", certain=False)
    if protocol is not None:
        return Recognition(
            protocol=protocol, model=listed or "", evidence="the configuration", certain=listed is not None
        )
    if listed is None:
        return None
    return Recognition(protocol="openai-chat", model=model or listed, evidence=f"its answer to GET {MODELS}")


async def _first_model(client: httpx.AsyncClient, headers: Mapping[str, str]) -> str | None:
    try:
        async with asyncio.timeout(PATIENCE):
            request = client.build_request("GET", MODELS, headers=headers)
            async with opened(client, request, None) as response:
                await accepted(response)
                return _first_id(parsed(await whole(response)))
    except FAULTS as error:  # TimeoutError among them, as an OSError
        if failed(error).failure is Failure.UNAUTHORIZED:
            raise
        return None


def _first_id(document: Json) -> str:
    match document:
        case {"data": [{"id": str(name)}, *_]} if len(name.encode()) <= LONGEST_NAME:  # raises where it is no text
            return name
        case _:
            raise Failed(Failure.INVALID, "no list of models")
