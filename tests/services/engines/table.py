"""The real servers: how each is started, asked and broken, and what is then to be seen of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Settings = Mapping[str, object]

LONG = "word " * 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Astray:
    """A question that goes wrong by what was set, and the reason."""

    reason: str
    prompt: Settings = field(default_factory=dict)
    """What is set of the prompt, over what is right."""
    more: Settings = field(default_factory=dict)
    """What is set beside the prompt, instead of what is right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Real:
    """A real server with one of these services: how it is started and asked, and by what reasons it then fails."""

    engine: str
    needs: Sequence[str]
    """Packages of the Python that runs it."""
    command: Sequence[str]
    """What starts it; {python}, {port}, {other} and {metrics} are filled in."""
    environment: Mapping[str, str] = field(default_factory=dict)
    ready: str = "/health"
    """The path that answers 200 once it is."""
    protocol: str = "plain"
    prompt: Settings = field(default_factory=dict)
    more: Settings = field(default_factory=dict)
    """What the configuration says of it beside its url and its prompt."""
    astray: Mapping[str, Astray]
    spoilt: str
    """The reason once the model talks nonsense."""
    streams: bool = False
    """Whether its answer comes piece by piece."""
    counts: Mapping[str, str] | None = None
    """Labels of the requests that it counts itself; None where it counts none."""
    counted: Sequence[str] = ()
    """Whose requests it counts so, beside those that go well."""
    apart: bool = False
    """Whether it tells that at a port of its own."""

    @property
    def frozen(self) -> str:
        """The reason while all its processes stand still."""
        return "timeout_first_token" if self.streams else "timeout_total"


def tensor(*numbers: float) -> Settings:
    """The body of a request to the model that doubles numbers."""
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [len(numbers)], "data": [*numbers]}]}


SERVERS: Mapping[str, Real] = {
    # LitServe's own specification takes any model's name, so that none is wrong.
    "litserve-chat": Real(
        engine="litserve",
        needs=("litserve",),
        command=("{python}", "litserve_chat.py", "{port}"),
        protocol="openai-chat",
        more={"model": "week", "checks": {"contains": "seven days"}},
        astray={
            "unlike": Astray(reason="unexpected", more={"checks": {"contains": "eight days"}}),
            # LitServe has begun to answer by then, with status 200.
            "too-long": Astray(reason="stream_error", prompt={"text": LONG}),
        },
        spoilt="repetitive",
        streams=True,
    ),
    # A service of one model, which has no name: what may be wrong is the path, here and below.
    "litserve-square": Real(
        engine="litserve",
        needs=("litserve",),
        command=("{python}", "litserve_square.py", "{port}"),
        prompt={"protocol": "plain", "path": "/predict", "body": {"input": 12}, "answer": "output"},
        more={"checks": {"number": 144}},
        astray={
            "unlike": Astray(reason="unexpected", more={"checks": {"number": 145}}),
            "nowhere": Astray(reason="not_found", prompt={"path": "/square"}),
            "too-long": Astray(reason="status_4xx", prompt={"body": {"input": 10**9}}),
        },
        spoilt="unexpected",
    ),
    "bentoml": Real(
        engine="bentoml",
        needs=("bentoml",),
        command=("{python}", "-m", "bentoml", "serve", "bento:Classifier", "--host=127.0.0.1", "--port={port}"),
        environment={"BENTOML_DO_NOT_TRACK": "True"},
        ready="/readyz",
        prompt={
            "protocol": "plain",
            "path": "/classify",
            "body": {"text": "${text}"},
            "text": "the match ended in a draw",
            "answer": "label",
        },
        more={"checks": {"matches": "^(sports|politics)$"}},
        astray={
            "unlike": Astray(reason="unexpected", more={"checks": {"matches": "^art$"}}),
            "nowhere": Astray(reason="not_found", prompt={"path": "/sort"}),
            "too-long": Astray(reason="status_4xx", prompt={"text": LONG}),
        },
        spoilt="empty",
        counts={"handler": "/classify", "status": "2xx"},
        counted=("unlike",),
    ),
    "triton": Real(
        engine="triton",
        needs=("pytriton",),
        command=("{python}", "tritonserver.py", "{port}", "{metrics}"),
        ready="/v2/health/ready",
        protocol="kserve",
        more={"model": "double", "checks": {"dimensions": 4, "norm": 4}},
        astray={
            "unlike": Astray(reason="out_of_range", more={"checks": {"dimensions": 8}}),
            "other-model": Astray(reason="not_found", more={"model": "triple"}),
            "too-long": Astray(reason="status_4xx", prompt={"body": tensor(*range(8))}),
        },
        spoilt="out_of_range",
        counts={},
        counted=("unlike",),
        apart=True,
    ),
    "mlserver": Real(
        engine="mlserver",
        needs=("mlserver",),
        command=("{python}", "-c", "from mlserver.cli import main; main()", "start", "shouting"),
        environment={
            "MLSERVER_HOST": "127.0.0.1",
            "MLSERVER_HTTP_PORT": "{port}",
            "MLSERVER_GRPC_PORT": "{other}",
            "MLSERVER_METRICS_PORT": "{metrics}",
            "MLSERVER_PARALLEL_WORKERS": "0",
        },
        ready="/v2/health/ready",
        protocol="kserve",
        prompt={"text": "hello"},
        more={"model": "shout", "checks": {"contains": "HELLO"}},
        astray={
            "unlike": Astray(reason="unexpected", more={"checks": {"contains": "hello"}}),
            "other-model": Astray(reason="not_found", more={"model": "whisper"}),
            "too-long": Astray(reason="status_4xx", prompt={"text": LONG}),
        },
        spoilt="empty",
        counts={"method": "POST", "status": "2xx"},
        counted=("unlike",),
        apart=True,
    ),
    "gradio": Real(
        engine="gradio",
        needs=("gradio",),
        command=("{python}", "gradio_chat.py", "{port}"),
        environment={"GRADIO_ANALYTICS_ENABLED": "False"},
        ready="/gradio_api/app_id",
        protocol="gradio",
        more={"checks": {"contains": "seven days"}},
        astray={
            "unlike": Astray(reason="unexpected", more={"checks": {"contains": "eight days"}}),
            "nowhere": Astray(reason="not_found", prompt={"path": "/talk"}),
            "too-long": Astray(reason="stream_error", prompt={"text": LONG}),
        },
        spoilt="empty",
        streams=True,
        counts={},
        counted=("unlike", "too-long"),
    ),
    "fastapi-images": Real(
        engine="fastapi",
        needs=("fastapi", "uvicorn", "prometheus_fastapi_instrumentator", "PIL"),
        command=("{python}", "-m", "uvicorn", "images:app", "--port={port}"),
        protocol="openai-images",
        more={"checks": {"image": {"width": 64, "height": 64}}},
        astray={
            "unlike": Astray(reason="unexpected", more={"checks": {"image": {"width": 128}}}),
            "nowhere": Astray(reason="not_found", prompt={"path": "/v2/images/generations"}),
            "too-long": Astray(reason="status_4xx", prompt={"text": LONG}),
        },
        spoilt="unexpected",
        counts={"handler": "/v1/images/generations", "status": "2xx"},
        counted=("unlike",),
    ),
    "flask": Real(
        engine="flask",
        needs=("flask", "gunicorn"),
        command=("{python}", "-m", "gunicorn", "--workers=3", "--bind=127.0.0.1:{port}", "mood:app"),
        prompt={"protocol": "plain", "path": "/predict", "body": {"text": "${text}"}, "text": "I like it"},
        more={"checks": {"json": {"label": "good", "score": {"min": 0, "max": 1}}}},
        astray={
            "unlike": Astray(reason="unexpected", more={"checks": {"json": {"label": "bad"}}}),
            "nowhere": Astray(reason="not_found", prompt={"path": "/guess"}),
            "too-long": Astray(reason="status_4xx", prompt={"text": LONG}),
        },
        spoilt="unexpected",
    ),
}
