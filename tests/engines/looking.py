"""Services to be recognised, and what may be asked of a service that nobody knows."""

import asyncio
from pathlib import Path

from exporter.engines import recognised
from exporter.wire import Recognition
from tests.services.client import client
from tests.services.recorded import FOLDER, recorded
from tests.services.scripted import Answer, Service, Stage

KEY = {"Authorization": "Bearer key"}
RECORDED = FOLDER / "recognised"

HARMLESS = {
    *("/", "/v1/models", "/models", "/info", "/version", "/health", "/metrics", "/openapi.json", "/config"),
    *("/v2", "/v2/health/live", "/v1/metadata", "/liveness", "/model_info", "/schema.json", "/system_stats"),
    *("/sdapi/v1/options", "/ping", "/-/healthz", "/props", "/api/version", "/api/ps"),
}
"""Every GET that changes nothing, whichever engine answers it."""


def replayed(stage: Stage, server: str) -> Service:
    """A service that answers every GET as a real one did, and 404 to those that it was not sent then."""
    answers: dict[str, Answer] = {}
    for file in sorted(Path(RECORDED / server).glob("*.http")):
        answers.update(recorded(f"recognised/{server}/{file.stem}"))
    return stage.serve(answers)


def seen(
    url: str, *, protocol: str | None = None, model: str | None = None, engine: str | None = None
) -> Recognition | None:
    """What a service is recognised as, where that was set for it."""

    async def look() -> Recognition | None:
        async with client(url) as asking:
            return await recognised(asking, KEY, protocol=protocol, model=model, engine=engine)

    return asyncio.run(look())


def asked(service: Service) -> list[str]:
    """The paths that a service was asked for, of which none was other than a harmless GET."""
    assert {it.method for it in service.requests} <= {"GET"}
    paths = [it.path for it in service.requests]
    assert set(paths) <= HARMLESS
    return paths
