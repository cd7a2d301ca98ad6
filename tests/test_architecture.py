"""The floors and the doors: who may import whom, and where each dependency enters."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "exporter"

# From the ground up; a module imports only from lower floors, and a package stands for the modules in it.
FLOORS = (
    ("frozen", "kernel", "nearest", "recent", "spared"),
    (
        "reading",
        "paths",
        "pids",
        "sockets",
        "supervisor",
        "log",
        "figures",
        "keys",
        "listening",
        "cgroups",
        "messages",
    ),
    ("connection",),
    ("wire", "threads", "nvml", "web", "normal", "proofs", "sensors", "units", "usage"),
    ("clock", "followed", "gpus", "pace", "renewal", "residency", "response", "thoughts", "vocabularies", "webconfig"),
    ("apart", "credentials", "exchange", "forms", "lookup", "ask", "trust"),
    ("checks", "chosen", "client"),
    ("questions",),
    ("exposition", "objectives", "page", "watch", "protocols", "sources"),
    ("protocols.__init__", "blocking", "boards", "engines", "lifecycle", "routes", "verdict"),
    ("placement", "settings"),
    ("assessor", "discovery", "reload", "site"),
    ("fleet", "machine"),
    ("services",),
    ("app",),
    ("program",),
    ("commands",),
    ("entry",),
    ("__main__",),
)

DOORS = {
    "PIL": {"checks.images"},
    "OpenSSL": {"webconfig.secured", "webconfig.tls"},
    "aiohappyeyeballs": {"clock"},
    "bcrypt": {"webconfig.users"},
    "cryptography": {"webconfig.tls"},
    "httptools": {"clock", "messages"},
    "httpx": {
        *("ask", "client", "clock", "credentials", "engines", "exchange", "protocols", "questions", "response", "site"),
        *("wire", "sources.health", "sources.prompt", "sources.server"),
    },
    "jsonpath": {"paths"},
    "jsonschema": {"checks.schema"},
    "prometheus_client": {"exposition", "forms"},
    "psutil": {"sources.host", "sources.process"},
    "pydantic": {"settings"},
    "pydantic_core": {"settings"},
    "pydantic_settings": {"settings"},
    "pynvml": {"nvml"},
    "re2": {"checks.pattern"},
    "referencing": {"checks.schema"},
    "uvloop": {"commands.line", "program"},
    "yaml": {"commands", "settings", "webconfig.document"},
}

# Where a dependency is loaded late, since few need it and all would pay for it.
LATE = {
    ("commands.healthcheck", "yaml"),
    ("app", "exporter.services.CATALOG"),
    ("app", "exporter.services.Services"),
    ("entry", "exporter.commands.line.COMMANDS"),
    ("entry", "exporter.program"),
    ("entry", "exporter.commands.healthcheck.healthcheck"),
    ("exposition.__init__", "prometheus_client.exposition.choose_encoder"),
    ("nearest", "difflib.get_close_matches"),
    ("paths", "jsonpath"),
    ("routes", "exporter.page.page"),
    ("settings.environment", "exporter.settings.nested.nested"),
    ("sources.host", "psutil.virtual_memory"),
    ("program", "exporter.webconfig.guard"),
    ("webconfig.guard", "exporter.webconfig.secured.Secured"),
    ("webconfig.guard", "exporter.webconfig.tls.context"),
    ("checks.images", "PIL.Image"),
    ("checks.pattern", "re2"),
    ("checks.schema", "jsonschema.exceptions.SchemaError"),
    ("checks.schema", "jsonschema.exceptions.ValidationError"),
    ("checks.schema", "jsonschema.validators.Draft202012Validator"),
    ("checks.schema", "jsonschema.validators.extend"),
    ("checks.schema", "jsonschema.validators.validator_for"),
    ("checks.schema", "referencing.Registry"),
    ("checks.schema", "referencing.exceptions.Unresolvable"),
}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for file in sorted(ROOT.rglob("*.py")):
        name = ".".join(file.relative_to(ROOT).with_suffix("").parts)
        yield name, ast.parse(file.read_text())


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def floor(module: str) -> int:
    """The floor of a module, by its own name where that is listed, else by its package's."""
    for names in (module, module.partition(".")[0]):
        for number, listed in enumerate(FLOORS):
            if names in listed:
                return number
    raise AssertionError(f"{module} is on no floor: add it to FLOORS")


def target(name: str) -> str:
    """The module of ours that an import names."""
    parts = name.split(".")[1:]
    while parts and not (ROOT.joinpath(*parts).with_suffix(".py").exists() or ROOT.joinpath(*parts).is_dir()):
        parts.pop()
    inside = ROOT.joinpath(*parts).is_dir()
    return ".".join([*parts, "__init__"] if inside else parts)


@pytest.mark.parametrize(("module", "tree"), [pytest.param(*each, id=each[0]) for each in modules()])
def test_a_module_imports_only_from_lower_floors(module: str, tree: ast.Module) -> None:
    if module == "__init__":
        pytest.skip("the package itself holds no code")
    ours = {target(name) for name in imported(tree) if name.split(".")[0] == "exporter"} - {"__init__"}

    too_high = {name for name in ours if floor(name) >= floor(module) and not _kin(name, module)}

    assert not too_high


def _kin(name: str, module: str) -> bool:
    """Modules of one package may use one another, but for sources and protocols, which stand alone."""
    package = module.partition(".")[0]
    return name.partition(".")[0] == package and package in {
        "checks",
        "clock",
        "commands",
        "engines",
        "exposition",
        "gpus",
        "nvml",
        "settings",
        "verdict",
        "webconfig",
    }


@pytest.mark.parametrize(("module", "tree"), [pytest.param(*each, id=each[0]) for each in modules()])
def test_each_dependency_enters_by_its_own_door(module: str, tree: ast.Module) -> None:
    libraries = {name.split(".")[0] for name in imported(tree)} - set(sys.stdlib_module_names) - {"exporter"}

    unknown = libraries - DOORS.keys()
    wrong = {library for library in libraries & DOORS.keys() if not {module, module.partition(".")[0]} & DOORS[library]}

    assert not unknown, "give each dependency a door"
    assert not wrong


@pytest.mark.parametrize(("module", "tree"), [pytest.param(*each, id=each[0]) for each in modules()])
def test_nothing_is_imported_inside_a_function_or_for_types_alone(module: str, tree: ast.Module) -> None:
    top = set(
        imported(
            ast.Module(
                body=[
                    node
                    for node in tree.body
                    if not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef)
                ],
                type_ignores=[],
            )
        )
    )

    late = {(module, name) for name in imported(tree) if name not in top}

    assert late <= LATE
    assert "typing.TYPE_CHECKING" not in top


def test_only_a_watch_and_what_spares_others_catch_everything() -> None:
    catching = {
        module
        for module, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler) and isinstance(node.type, ast.Name) and node.type.id == "Exception"
    }

    assert catching == {"watch", "blocking", "spared"}
