"""What is served at which path."""

import time
from collections.abc import Callable, Mapping, Sequence

from exporter.exposition import Catalog, Exposition
from exporter.messages import Request, Response, plain
from exporter.reading import Reading
from exporter.web import Post, Route, accepts_gzip, compressed


def routes(
    catalog: Catalog, snapshot: Callable[[], Sequence[Reading]], posts: Mapping[str, Post]
) -> Mapping[str, Route | Post]:
    """The pages of the exporter, made of what is known when they are asked for, and what it can be asked to do."""
    exposition = Exposition(catalog, snapshot)

    def metrics(request: Request) -> Response:
        gzipped = accepts_gzip(request)
        body, content_type = exposition.page(request.headers.get("accept", ""), gzipped=gzipped)
        coding = {"content-encoding": "gzip"} if gzipped else {}
        headers = {"content-type": content_type, "vary": "accept, accept-encoding", **coding}
        return Response(headers=headers, body=body)

    def status(request: Request) -> Response:
        # For people, of whom most exporters never see one.
        from exporter.page import page  # noqa: PLC0415  as above

        links = {"metrics": "/metrics", "healthy": "/-/healthy", "ready": "/-/ready"}
        body = page(snapshot(), now=time.time(), links=links)
        return compressed(request, Response(headers={"content-type": "text/html; charset=utf-8"}, body=body))

    return {
        "/metrics": metrics,
        "/": status,
        "/-/healthy": lambda _request: plain(200, "model-sidecar is healthy."),
        "/-/ready": lambda _request: plain(200, "model-sidecar is ready."),
        **posts,
    }
