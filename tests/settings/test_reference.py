"""The settings as others read them: a table, a schema, and YAML."""

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import get_args

import yaml

from exporter.checks.images import Picture
from exporter.checks.judge import Checks
from exporter.engines import ENGINES
from exporter.protocols import PROTOCOLS
from exporter.settings import Checks as CheckSettings
from exporter.settings import Image, Settings, as_yaml, reference, schema
from exporter.settings.model import Engine
from exporter.settings.prompt import Protocol
from tests.settings.typed import typed


def test_secrets_are_not_in_what_is_printed(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("secret-of-file")
    settings = typed(
        tmp_path,
        f"targets:\n- {{url: 'http://a', headers: {{X: secret-of-header}}, name: a}}\n"
        f"- {{url: 'http://b', api_key_file: '{tmp_path}/key'}}",
        environ={"MODEL_SIDECAR_API_KEY__A": "secret-of-variable"},
    )

    assert "secret-of" not in as_yaml(settings) + repr(settings) + str(settings)
    assert "api_key: '**********'" in as_yaml(settings)


def test_what_is_printed_loads_as_the_same_settings(tmp_path: Path) -> None:
    settings = typed(
        tmp_path,
        """
        targets:
        - url: http://127.0.0.1:8000/v1
          prompt: {protocol: plain, body: {text: "${text}", at: 2020-01-01}, answer: data.0.text, timeout: 90}
          health: {expect: {json: {service_status: active, n: null}, status: 200}, values: [cpu_usage]}
          process: off
        - url: https://b
          prompt: {enabled: off, every: 1500ms, cases: [{text: 'on'}]}
          process: {port: 80}
        - url: http://c
          engine: gradio
          checks: {canary: on, number: {min: 1}, norm: 1, json: {a: {max: 2}, b: [x]}, golden: [1, 0.5], image: off}
          prompt:
            cases: [{text: a, checks: {canary: off, number: none, json: {c: null}, image: {width: 1}}}]
            documents: [a, b]
            daily_token_budget: 1000
            skip_when_waiting_above: 0.5
          server: {enabled: on, publish: none, url: 'http://c:8002'}
          objectives: {first_token: {p99: 3s}, success_ratio: none, tokens_per_second: 0.5}
          verdict: {misses: 10, blind_after: 90}
          gpus: [0, GPU-a0b1, MIG-GPU-a0b1/7/0]
        objectives: {duration: {p95: 2500ms, p99.9: 1m}, success_ratio: 0.99, gpu_memory_ratio: 1, cpu_ratio: 0.8}
        verdict: {restart_allowance: 1h}
        checks: {json_schema: {type: object}, matches: "^a+$", ranked: [1, 0]}
        gpu: {enabled: off, library: /lib/libnvidia-ml.so.1, devices: [0, GPU-a0b1], slow: 90, pid_labels: on}
        web: {enable_lifecycle: on}
        """,
    )

    again = typed(tmp_path, as_yaml(settings))

    assert again == settings
    assert as_yaml(again) == as_yaml(settings)


def test_every_setting_is_in_the_reference_with_its_default_and_what_it_is_for() -> None:
    rows = {entry.name: entry for entry in reference()}

    assert all(row.description.endswith(".") for row in rows.values())
    assert {
        name: rows[name].default for name in ("targets[].url", "targets[].name", "prompt.every", "health.every")
    } == {
        "targets[].url": "",
        "targets[].name": "auto",
        "prompt.every": "auto",
        "health.every": "15s",
    }
    assert rows["web.listen_address"].default == '[":10068"]'
    assert rows["gpu.enabled"].default == "true"
    assert "targets[].tls.ca_file" in rows
    assert "prompt.cases[].body" in rows
    assert "targets[].api_key" not in rows
    assert "targets[].prompt.every" not in rows
    assert (rows["checks.image"].default, rows["server.publish"].default) == ("on", "gauges")
    assert (rows["objectives.duration"].default, rows["objectives.success_ratio"].default) == ("{}", "none")
    assert (rows["verdict.misses"].default, rows["verdict.blind_after"].default) == ("3", "10m")
    assert rows["targets[].gpus"].default == "auto"
    assert (rows["gpu.devices"].default, rows["gpu.medium"].default, rows["gpu.slow"].default) == ("all", "15s", "5m")
    assert rows["web.enable_lifecycle"].default == "false"
    assert not {"targets[].objectives.duration", "targets[].verdict.misses"} & rows.keys()
    assert "prompt.cases[].checks" in rows
    assert "prompt.cases[].checks.canary" not in rows


def test_every_default_of_the_reference_can_be_typed(tmp_path: Path) -> None:
    names = [entry.name for entry in reference()]
    plain = [
        entry
        for entry in reference()
        if "[]" not in entry.name and not any(name.startswith(f"{entry.name}.") for name in names)
    ]
    settings = Settings()
    for entry in plain:
        *sections, name = entry.name.split(".")
        typed_alone: object = {name: yaml.safe_load(entry.default)}
        for section in reversed(sections):
            typed_alone = {section: typed_alone}

        assert typed(tmp_path, yaml.safe_dump(typed_alone)) == settings, entry


def test_editors_are_told_of_durations_words_and_lists() -> None:
    described = json.loads(json.dumps(schema()))

    prompt, web = described["$defs"]["Prompt"], described["$defs"]["Web"]
    assert described["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert described["additionalProperties"] is False
    assert prompt["properties"]["every"]["default"] == "auto"
    assert {"enum": ["auto", None]} in prompt["properties"]["every"]["anyOf"]
    assert {"exclusiveMinimum": 0, "type": "number"} in prompt["properties"]["every"]["anyOf"]
    assert {"type": "string"} in web["properties"]["listen_address"]["anyOf"]
    assert described["$defs"]["Target"]["required"] == ["url"]
    assert "api_key" not in described["$defs"]["Target"]["properties"]


def test_every_setting_has_a_description_for_editors() -> None:
    described = json.loads(json.dumps(schema()))

    bare = [
        name
        for section in (described, *described["$defs"].values())
        for name, setting in section.get("properties", {}).items()
        if "description" not in setting and "description" not in described["$defs"][setting["$ref"].split("/")[-1]]
    ]

    assert not bare


def test_editors_are_told_of_checks() -> None:
    checks = json.loads(json.dumps(schema()))["$defs"]["Checks"]["properties"]

    assert {"auto", "on", "off", True, False} <= set(checks["canary"]["enum"])
    assert {"enum": ["none", "null", None]} in checks["number"]["anyOf"]
    assert {"type": "number"} in checks["number"]["anyOf"]
    assert set(checks["json"]) >= {"additionalProperties", "description"}


def test_editors_are_told_of_percentiles_and_gpus() -> None:
    sections = json.loads(json.dumps(schema()))["$defs"]

    ((pattern, duration),) = sections["Objectives"]["properties"]["first_token"]["patternProperties"].items()
    gpus = sections["Target"]["properties"]["gpus"]["anyOf"]
    assert re.search(pattern, "p99.9")
    assert not re.search(pattern, "p100")
    assert {"exclusiveMinimum": 0, "type": "number"} in duration["anyOf"]
    devices = sections["Gpu"]["properties"]["devices"]["anyOf"]
    assert {"enum": ["auto", None]} in gpus
    assert {"enum": ["all", "targets"]} in devices
    assert {"minimum": 0, "type": "integer"} in gpus[1]["items"]["anyOf"]


def test_the_checks_that_can_be_set_are_those_there_are() -> None:
    assert set(CheckSettings.settings()) == {check.name for check in fields(Checks)}
    assert set(Image.settings()) == {part.name for part in fields(Picture)}


def test_the_engines_that_can_be_set_are_those_there_are() -> None:
    assert set(get_args(Engine)) == set(ENGINES)


def test_the_protocols_that_can_be_set_are_those_there_are() -> None:
    assert set(get_args(Protocol)) == set(PROTOCOLS)
