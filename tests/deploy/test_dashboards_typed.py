"""The dashboards judged by the types that Grafana publishes: the whole, and the options of each kind of panel."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

from tests.deploy.dashboards import NAMES, Document, dashboard, panels

SCHEMA = "13.2.3"
PACKAGES = (f"@grafana/schema@{SCHEMA}", "typescript@7.0.2")
COMPILER = ("node_modules/.bin/tsc", "--noEmit", "--strict", "--skipLibCheck")
AS_A_MODULE = ("--moduleResolution", "bundler", "--module", "esnext", "--target", "es2022")
PATIENCE = 300

KINDS = {
    "timeseries": "timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen",
    "stat": "stat/panelcfg/x/StatPanelCfg_types.gen",
    "state-timeline": "statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen",
    "heatmap": "heatmap/panelcfg/x/HeatmapPanelCfg_types.gen",
    "table": "table/panelcfg/x/TablePanelCfg_types.gen",
}
PREFACE = """\
import type { AnnotationQuery, Dashboard, DataQuery } from "@grafana/schema";
// A dashboard is JSON: where the types have an enumeration, it has the text.
type Json<T> = T extends string ? `${T}` : T extends (infer E)[] ? Json<E>[]
  : T extends object ? { [K in keyof T]: Json<T[K]> } : T;
// Of what is asked of Prometheus no types are published.
type Query = Json<DataQuery> & { expr: string; range: boolean; instant: boolean };
type Mark = Omit<Json<AnnotationQuery>, "target"> & { target: Query; titleFormat: string; useValueForTime: boolean };
type Whole = Omit<Json<Dashboard>, "annotations"> & { annotations: { list: Mark[] } };
"""

if shutil.which("node") is None or shutil.which("npm") is None:
    pytest.skip("there is no node with npm, which judge the dashboards by Grafana's types", allow_module_level=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with Grafana's types and a compiler for them."""
    folder = tmp_path_factory.mktemp("types")
    command = [
        "npm",
        "install",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--fetch-retries=0",
        "--prefix",
        str(folder),
        *PACKAGES,
    ]
    try:
        fetched = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        pytest.skip("Grafana's types could not be fetched in time, by which the dashboards are judged")
    if fetched.returncode:
        pytest.skip("Grafana's types could not be fetched, by which the dashboards are judged")
    return folder


def typed(*documents: Document) -> str:
    """These dashboards as a program, which is right where they are as the types say."""
    imports = [
        f'import type * as {_module(kind)} from "@grafana/schema/dist/esm/raw/composable/{module}";'
        for kind, module in KINDS.items()
    ]
    constants = chain.from_iterable(_constants(document) for document in documents)
    numbered = [f"export const c{number}: {each};" for number, each in enumerate(constants)]
    return "\n".join([PREFACE, *imports, *numbered])


def _constants(document: Document) -> Iterator[str]:
    yield f"Whole = {json.dumps(document)}"
    for panel in panels(document):
        kind = _module(panel["type"])
        yield f"Json<{kind}.Options> = {json.dumps(panel['options'])}"
        if "custom" in panel["fieldConfig"]["defaults"]:
            yield f"Json<{kind}.FieldConfig> = {json.dumps(panel['fieldConfig']['defaults']['custom'])}"


def _module(kind: str) -> str:
    return kind.replace("-", "")


def judged(folder: Path, program: str) -> str:
    """What the compiler has against a program; nothing where all is right."""
    (folder / "dashboards.ts").write_text(program)
    run = subprocess.run(
        [*COMPILER, *AS_A_MODULE, "dashboards.ts"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert bool(run.stdout) == bool(run.returncode), run.stderr
    return run.stdout


def test_every_dashboard_is_as_grafanas_types_want_it(folder: Path) -> None:
    found = judged(folder, typed(*(dashboard(name) for name in NAMES)))

    assert not found


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        pytest.param('"schemaVersion":', '"schemaVersion": "many", "was":', id="of the dashboard"),
        pytest.param('"showLegend": true', '"showLegend": "always"', id="of an option"),
        pytest.param('"displayMode": "table"', '"displayMode": "tables"', id="of an enumeration"),
        pytest.param('"fillOpacity": 8', '"fillOpacityy": 8', id="of a field"),
    ],
)
def test_the_types_would_find_what_is_wrong(folder: Path, right: str, wrong: str) -> None:
    program = typed(dashboard("gpu"))
    assert right in program

    found = judged(folder, program.replace(right, wrong))

    assert "error" in found
