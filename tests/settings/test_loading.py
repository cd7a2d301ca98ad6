"""Settings out of flags, variables, a file and defaults: what each kind of value becomes, and which one stands."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from exporter.checks.canary import Canary
from exporter.checks.numbers import Range
from exporter.settings import Settings, load
from exporter.settings.kinds import seconds, spelled
from tests.settings.typed import told, typed, url

URL = "targets: [{url: 'http://a'}]\n"


def test_with_nothing_set_everything_is_at_its_default() -> None:
    settings = load({}, file=None, environ={})

    assert settings.targets == ()
    assert (settings.health.every, settings.health.timeout, settings.health.path) == (15.0, None, None)
    assert (settings.prompt.enabled, settings.prompt.protocol, settings.prompt.every) == (None, None, None)
    assert (settings.prompt.first_token_timeout, settings.prompt.stall_timeout, settings.prompt.timeout) == (30, 10, 60)
    assert (settings.prompt.documents, settings.prompt.daily_token_budget) == ((), None)
    assert settings.prompt.skip_when_waiting_above is None
    assert (settings.server.enabled, settings.server.every, settings.server.publish) == (None, 15.0, "gauges")
    assert (settings.verdict.misses, settings.verdict.blind_after, settings.verdict.prefill_grace) == (3, 600, 180)
    assert (settings.verdict.startup_allowance, settings.verdict.restart_allowance) == (1200, 300)
    assert not settings.objectives.first_token
    assert not settings.objectives.duration
    assert settings.objectives.model_dump(exclude={"first_token", "duration"}, exclude_none=True) == {}
    assert settings.process is not None
    assert settings.process.port is None
    assert settings.web.listen_address == (":10068",)
    assert (settings.gpu.enabled, settings.host.paths) == (True, ("/",))
    assert (settings.log.level, settings.log.format) == ("info", "logfmt")


def test_flags_stand_before_variables_and_variables_before_the_file(tmp_path: Path) -> None:
    settings = typed(
        tmp_path,
        "log: {level: error, format: json}\nweb: {listen_address: ':1'}\nhealth: {every: 1, path: /a}",
        flags={"log": {"level": "debug"}},
        environ={
            "MODEL_SIDECAR_LOG__LEVEL": "warning",
            "MODEL_SIDECAR_WEB__LISTEN_ADDRESS": ":2",
            "MODEL_SIDECAR_HEALTH__EVERY": "2s",
        },
    )

    assert (settings.log.level, settings.log.format) == ("debug", "json")
    assert settings.web.listen_address == (":2",)
    assert (settings.health.every, settings.health.path) == (2.0, "/a")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("15", 15.0),
        ("0.25", 0.25),
        ("'15'", 15.0),
        ("500ms", 0.5),
        ("15s", 15.0),
        ("1.5s", 1.5),
        ("5m", 300.0),
        ("24h", 86400.0),
        ("1h30m", 5400.0),
        ("1M30S", 90.0),
    ],
)
def test_a_duration_is_a_number_of_seconds_or_says_its_unit(tmp_path: Path, text: str, seconds: float) -> None:
    assert typed(tmp_path, f"gpu: {{every: {text}}}").gpu.every == seconds


@pytest.mark.parametrize("text", ["'on'", "'off'", "on", "off", "true", "false", "'true'", "'False'"])
def test_on_off_true_and_false_are_one_thing(tmp_path: Path, text: str) -> None:
    settings = typed(tmp_path, f"gpu: {{enabled: {text}}}\nprompt: {{enabled: {text}}}\nprocess: {text}")

    on = text.strip("'").lower() in {"on", "true"}
    assert settings.gpu.enabled is on
    assert settings.prompt.enabled is on
    assert (settings.process is not None) is on


@pytest.mark.parametrize("text", ["none", "null", "NONE", "~", ""])
def test_none_and_null_are_one_thing(tmp_path: Path, text: str) -> None:
    settings = typed(tmp_path, f"health:\n  url: {text}\n  expect: {{text: {text}}}\nprompt:\n  body: {text}")

    assert (settings.health.url, settings.health.expect.text, settings.prompt.body) == (None, None, None)


def test_a_section_with_nothing_under_it_says_nothing(tmp_path: Path) -> None:
    settings = typed(
        tmp_path,
        """
        prompt: {every: 9}
        health:
        process:
        gpu:
        targets:
        - url: http://a
          prompt:
          process:
          health: {expect: }
        """,
    )

    assert settings.targets[0].prompt.every == 9
    assert settings.process is not None
    assert settings.targets[0].process is not None


def test_a_target_has_what_is_set_for_every_target_but_for_what_it_sets_itself(tmp_path: Path) -> None:
    settings = typed(
        tmp_path,
        """
        health: {every: 5, expect: {status: [200, 204], json: {a: 1}}, values: [x, y]}
        prompt: {max_tokens: 4, cases: [{text: one}, {text: two}]}
        process: off
        targets:
        - url: http://a
        - url: http://b
          health: {timeout: 2, expect: {json: {b: 2}}, values: [z]}
          prompt: {cases: [{text: three}]}
          process: {port: 80}
        """,
        environ={"MODEL_SIDECAR_PROMPT__MAX_TOKENS": "8"},
    )

    first, second = settings.targets
    assert (first.health, first.prompt, first.process) == (settings.health, settings.prompt, None)
    assert (second.health.every, second.health.timeout) == (5.0, 2.0)
    assert (second.health.expect.status, second.health.expect.fields) == ((200, 204), {"b": 2})
    assert second.health.values == ("z",)
    assert (second.prompt.max_tokens, [case.text for case in second.prompt.cases]) == (8, ["three"])
    assert second.process is not None
    assert second.process.port == 80


def test_one_of_a_list_may_stand_without_brackets(tmp_path: Path) -> None:
    settings = typed(
        tmp_path,
        "host: {paths: /data}\nhealth: {values: cpu_usage, expect: {status: 204}}\nprompt: {cases: {text: hello}}",
        environ={"MODEL_SIDECAR_WEB__LISTEN_ADDRESS": "[::1]:9000"},
    )

    assert settings.host.paths == ("/data",)
    assert (settings.health.values, settings.health.expect.status) == (("cpu_usage",), (204,))
    assert settings.prompt.cases[0].text == "hello"
    assert settings.web.listen_address == ("[::1]:9000",)


def test_a_date_in_a_body_stays_the_text_that_json_has_for_it(tmp_path: Path) -> None:
    settings = typed(tmp_path, "prompt: {body: {since: 2020-01-01, note: null, n: [1, 0.5, true]}}")

    assert settings.prompt.body == {"since": "2020-01-01", "note": None, "n": [1, 0.5, True]}


def test_a_body_may_be_written_as_json(tmp_path: Path) -> None:
    settings = typed(tmp_path, """prompt: {body: '{"inputs": ["${text}"]}'}""")

    assert settings.prompt.body == {"inputs": ["${text}"]}


def test_merge_keys_and_anchors_are_understood(tmp_path: Path) -> None:
    settings = typed(
        tmp_path, "targets:\n- &a {url: 'http://a', model: m}\n- {<<: *a, url: 'http://b'}\n- {url: 'http://c'}\n"
    )

    assert [(target.url, target.model) for target in settings.targets] == [
        ("http://a", "m"),
        ("http://b", "m"),
        ("http://c", None),
    ]


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("http://gpu-1.lan:8000", "gpu-1.lan:8000"),
        ("http://gpu-1.lan", "gpu-1.lan:80"),
        ("https://api.example.com/openai", "api.example.com:443"),
        ("http://localhost:8000", "local:8000"),
        ("http://LOCALHOST:8000", "local:8000"),
        ("http://127.8.9.1", "local:80"),
        ("http://[::1]:11434", "local:11434"),
        ("http://[fd00::7]:8000", "fd00::7:8000"),
        ("unix:///run/vllm/chat.sock", "local:chat.sock"),
        ("unix:///run/chät+1", "local:ch-t-1"),
    ],
)
def test_a_target_is_named_after_its_address(address: str, name: str) -> None:
    assert load(url(address), file=None, environ={}).targets[0].name == name


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("http://a:8000/", "http://a:8000"),
        ("http://a:8000/v1", "http://a:8000"),
        ("http://a:8000/v1/", "http://a:8000"),
        ("https://a/serving/chat/v1", "https://a/serving/chat"),
        ("https://a/serving/v1beta", "https://a/serving/v1beta"),
        (" http://a ", "http://a"),
        ("HTTP://a", "http://a"),
        (" unix:///run/v1", "unix:///run/v1"),
    ],
)
def test_an_address_is_kept_without_what_an_sdk_has_at_its_end(address: str, kept: str) -> None:
    assert load(url(address), file=None, environ={}).targets[0].url == kept


def test_one_service_is_set_by_environment_alone(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("secret\n")

    target = load(
        {},
        file=None,
        environ={
            "MODEL_SIDECAR_URL": "http://a",
            "MODEL_SIDECAR_NAME": "chat",
            "MODEL_SIDECAR_ENGINE": "vLLM",
            "MODEL_SIDECAR_MODEL": "m",
            "MODEL_SIDECAR_API_KEY_FILE": str(key),
        },
    ).targets[0]

    assert (target.url, target.name, target.engine, target.model) == ("http://a", "chat", "vllm", "m")
    assert target.api_key is not None
    assert target.api_key.secret.get_secret_value() == "secret"


def test_several_services_are_set_by_environment_with_a_key_for_each() -> None:
    settings = load(
        {},
        file=None,
        environ={
            "MODEL_SIDECAR_TARGETS": '[{"url": "http://a", "name": "chat.big-1"}, {"url": "http://b", "name": "b"}]',
            "MODEL_SIDECAR_API_KEY__CHAT_BIG_1": " secret ",
        },
    )

    keys = [target.api_key and target.api_key.secret.get_secret_value() for target in settings.targets]
    assert keys == ["secret", None]


def test_a_url_on_the_command_line_replaces_every_other_list_of_services(tmp_path: Path) -> None:
    settings = typed(
        tmp_path,
        "targets: [{url: 'http://file'}, {url: 'http://file2', model: x}]\nprompt: {every: 7}",
        flags=url("http://flag"),
        environ={"MODEL_SIDECAR_TARGETS": '[{"url": "http://variable"}]'},
    )

    assert [(target.url, target.model, target.prompt.every) for target in settings.targets] == [
        ("http://flag", None, 7.0)
    ]


def test_what_the_environment_says_of_one_service_goes_with_the_command_lines() -> None:
    settings = load(
        url("http://flag"),
        file=None,
        environ={
            "MODEL_SIDECAR_URL": "http://variable",
            "MODEL_SIDECAR_MODEL": "m",
            "MODEL_SIDECAR_API_KEY": "secret",
        },
    )

    [target] = settings.targets
    assert (target.url, target.name, target.model) == ("http://flag", "flag:80", "m")
    assert target.api_key is not None


def test_what_the_environment_says_of_one_service_goes_with_the_files_only_one(tmp_path: Path) -> None:
    settings = typed(
        tmp_path,
        "targets: [{url: 'http://file', name: a, model: n, headers: {X: y}}]",
        flags={"targets": [{"name": "c"}]},
        environ={"MODEL_SIDECAR_NAME": "b", "MODEL_SIDECAR_MODEL": "m", "MODEL_SIDECAR_API_KEY": "secret"},
    )

    [target] = settings.targets
    assert (target.url, target.name, target.model) == ("http://file", "c", "m")
    assert target.headers["X"].get_secret_value() == "y"
    assert target.api_key is not None


def test_a_url_of_the_environment_replaces_the_files_services(tmp_path: Path) -> None:
    settings = typed(
        tmp_path, "targets: [{url: 'http://file', model: m}]", environ={"MODEL_SIDECAR_URL": "http://variable"}
    )

    assert [(target.url, target.model) for target in settings.targets] == [("http://variable", None)]


def test_a_key_is_read_from_the_file_that_variables_lead_to(tmp_path: Path) -> None:
    (tmp_path / "chat.key").write_text("\n secret\n")

    settings = typed(
        tmp_path,
        "targets: [{url: 'http://a', api_key_file: '${CREDENTIALS_DIRECTORY}/chat.key'}]",
        environ={"CREDENTIALS_DIRECTORY": str(tmp_path)},
    )

    [target] = settings.targets
    assert target.api_key is not None
    assert target.api_key.secret.get_secret_value() == "secret"
    assert target.api_key_file == "${CREDENTIALS_DIRECTORY}/chat.key"


def test_a_key_of_the_environment_stands_before_a_file(tmp_path: Path) -> None:
    settings = typed(
        tmp_path,
        "targets: [{url: 'http://a', name: chat, api_key_file: /nowhere}]",
        environ={"MODEL_SIDECAR_API_KEY__CHAT": "secret"},
    )

    assert settings.targets[0].api_key is not None


def test_an_empty_variable_is_as_good_as_none() -> None:
    settings = load({}, file=None, environ={"MODEL_SIDECAR_URL": "", "MODEL_SIDECAR_GPU__EVERY": ""})

    assert settings == Settings()


def test_variables_that_kubernetes_sets_for_a_service_of_that_name_are_ignored() -> None:
    links = {
        "MODEL_SIDECAR_SERVICE_HOST": "10.0.0.1",
        "MODEL_SIDECAR_SERVICE_PORT": "10068",
        "MODEL_SIDECAR_SERVICE_PORT_METRICS": "10068",
        "MODEL_SIDECAR_PORT": "tcp://10.0.0.1:10068",
        "MODEL_SIDECAR_PORT_10068_TCP": "tcp://10.0.0.1:10068",
        "MODEL_SIDECAR_PORT_10068_TCP_ADDR": "10.0.0.1",
        "MODEL_SIDECAR_PORT_10068_TCP_PORT": "10068",
        "MODEL_SIDECAR_PORT_10068_TCP_PROTO": "tcp",
        "MODEL_SIDECAR_CANARY_SERVICE_HOST": "10.0.0.2",
        "MODEL_SIDECAR_CANARY_PORT": "udp://10.0.0.2:1",
        "MODEL_SIDECAR_CANARY_PORT_1_UDP_ADDR": "10.0.0.2",
    }

    assert load({}, file=None, environ=links) == Settings()


def test_everything_a_file_sets_a_variable_can_set() -> None:
    settings = load(
        {},
        file=None,
        environ={
            "MODEL_SIDECAR_HEALTH__EXPECT__JSON": '{"service_status": "active"}',
            "MODEL_SIDECAR_HEALTH__EXPECT__STATUS": "[200, 204]",
            "MODEL_SIDECAR_HEALTH__VALUES": "cpu_usage",
            "MODEL_SIDECAR_PROMPT__CASES": '[{"text": "a"}, {"body": {"x": 1}}]',
            "MODEL_SIDECAR_PROMPT__BODY": '{"inputs": "${text}"}',
            "MODEL_SIDECAR_PROMPT__ENABLED": "auto",
            "MODEL_SIDECAR_PROMPT__MAX_SHARE": "0.5",
            "MODEL_SIDECAR_PROCESS__PORT": "8000",
            "MODEL_SIDECAR_CHECKS__CANARY": "true",
            "MODEL_SIDECAR_CHECKS__NUMBER": '{"max": 1}',
            "MODEL_SIDECAR_CHECKS__JSON": '{"a.b": {"min": 1}}',
            "MODEL_SIDECAR_CHECKS__JSON_SCHEMA": '{"type": "object"}',
            "MODEL_SIDECAR_CHECKS__GOLDEN": "[0.5, -1]",
            "MODEL_SIDECAR_CHECKS__IMAGE__WIDTH": "512",
            "MODEL_SIDECAR_SERVER__ENABLED": "off",
            "MODEL_SIDECAR_OBJECTIVES__FIRST_TOKEN": '{"p95": "2s"}',
            "MODEL_SIDECAR_OBJECTIVES__SUCCESS_RATIO": "0.99",
            "MODEL_SIDECAR_VERDICT__MISSES": "5",
            "MODEL_SIDECAR_VERDICT__BLIND_AFTER": "5m",
        },
    )

    assert settings.health.expect.fields == {"service_status": "active"}
    assert settings.health.expect.status == (200, 204)
    assert settings.health.values == ("cpu_usage",)
    assert [(case.text, case.body) for case in settings.prompt.cases] == [("a", None), (None, {"x": 1})]
    assert settings.prompt.body == {"inputs": "${text}"}
    assert (settings.prompt.enabled, settings.prompt.max_share) == (None, 0.5)
    assert settings.process is not None
    assert settings.process.port == 8000
    assert (settings.checks.canary, settings.checks.number) == (Canary.ON, Range(max=1))
    assert settings.checks.fields == {"a.b": Range(min=1)}
    assert (settings.checks.json_schema, settings.checks.golden) == ({"type": "object"}, (0.5, -1.0))
    assert settings.checks.image is not None
    assert settings.checks.image.width == 512
    assert settings.server.enabled is False
    assert (settings.objectives.first_token, settings.objectives.success_ratio) == ({"p95": 2.0}, 0.99)
    assert (settings.verdict.misses, settings.verdict.blind_after) == (5, 300.0)


def test_a_hundred_targets_are_ordinary(tmp_path: Path) -> None:
    settings = typed(tmp_path, yaml.safe_dump({"targets": [{"url": f"http://host-{n}"} for n in range(100)]}))

    assert len({target.name for target in settings.targets}) == 100


def test_plain_asks_by_get_without_a_body(tmp_path: Path) -> None:
    settings = typed(tmp_path, URL + "prompt: {protocol: plain, method: get, path: '/predict?q=1', answer: '$.label'}")

    prompt = settings.targets[0].prompt
    assert (prompt.method, prompt.path, prompt.answer) == ("GET", "/predict?q=1", "$.label")


def test_plain_takes_its_bodies_from_its_cases(tmp_path: Path) -> None:
    settings = typed(tmp_path, URL + "prompt: {protocol: plain, cases: [{body: {a: 1}}, {body: {a: 2}}]}")

    assert [case.body for case in settings.targets[0].prompt.cases] == [{"a": 1}, {"a": 2}]


def test_any_other_protocol_has_the_fields_of_a_body_in_its_request_too(tmp_path: Path) -> None:
    settings = typed(tmp_path, URL + "prompt: {protocol: gradio, path: /predict, body: {data: [1, '${text}']}}")

    assert settings.targets[0].prompt.body == {"data": [1, "${text}"]}


@pytest.mark.parametrize(
    ("text", "canary"),
    [("auto", Canary.AUTO), ("on", Canary.ON), ("'True'", Canary.ON), ("off", Canary.OFF), ("'off'", Canary.OFF)],
)
def test_a_canary_is_auto_or_a_switch(tmp_path: Path, text: str, canary: Canary) -> None:
    assert typed(tmp_path, f"checks: {{canary: {text}}}").checks.canary is canary


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("{min: 0, max: 1}", Range(min=0, max=1)),
        ("{min: 0.5}", Range(min=0.5)),
        ("{max: 1}", Range(max=1)),
        ("42", Range(min=42, max=42)),
        ("none", None),
    ],
)
def test_a_range_has_a_min_a_max_or_both_or_is_a_number(tmp_path: Path, text: str, meant: Range | None) -> None:
    assert typed(tmp_path, f"checks: {{number: {text}}}").checks.number == meant


def test_what_is_to_stand_in_an_answer_is_a_value_or_a_range(tmp_path: Path) -> None:
    settings = typed(tmp_path, "checks: {json: {a: {min: 0}, b.0: '1', $.c: {min: 0, other: 1}, d: {}, e: null, f: 1}}")

    assert settings.checks.fields == {
        "a": Range(min=0),
        "b.0": "1",
        "$.c": {"min": 0, "other": 1},
        "d": {},
        "e": None,
        "f": 1,
    }


def test_images_are_looked_at_unless_that_is_off(tmp_path: Path) -> None:
    settings = typed(tmp_path, "checks: {image: off}\ntargets: [{url: 'http://a', checks: {image: {width: 512}}}]")

    image = settings.targets[0].checks.image
    assert settings.checks.image is None
    assert image is not None
    assert (image.width, image.height, image.blank) == (512, None, False)


def test_a_target_has_the_checks_of_every_target_but_for_its_own_and_a_case_but_for_its_own(tmp_path: Path) -> None:
    settings = typed(
        tmp_path,
        """
        checks: {canary: off, contains: every, number: 1, image: {width: 1}}
        targets:
        - url: http://a
          checks: {contains: target, image: {height: 2}}
          prompt:
            cases:
            - text: a
            - {text: b, checks: {contains: case, number: none, image: {width: 3}, canary: auto}}
        """,
    )

    [target] = settings.targets
    first, second = (target.checks.but_for(case.checks) for case in target.prompt.cases)
    assert target.checks.image is not None
    assert (target.checks.canary, target.checks.contains) == (Canary.OFF, "target")
    assert (target.checks.image.width, target.checks.image.height) == (1, 2)
    assert first == target.checks
    assert second.image is not None
    assert (second.canary, second.contains, second.number) == (Canary.AUTO, "case", None)
    assert (second.image.width, second.image.height) == (3, 2)


@pytest.mark.parametrize("text", ["none", "null", "'NONE'", "~", ""])
def test_none_is_published_where_none_or_null_is_typed(tmp_path: Path, text: str) -> None:
    assert typed(tmp_path, f"server:\n  publish: {text}").server.publish == "none"


def test_a_server_of_its_own_port_stands_for_one_target_alone(tmp_path: Path) -> None:
    settings = typed(
        tmp_path,
        "server: {every: 30s}\ntargets:\n- {url: 'http://a', server: {url: 'https://a:8002/', enabled: on}, "
        "tls: {server_name: b}}\n- url: http://b",
    )

    first, second = (target.server for target in settings.targets)
    assert (first.enabled, first.url, first.every) == (True, "https://a:8002", 30.0)
    assert (second.enabled, second.url, second.every) == (None, None, 30.0)


def test_a_target_has_the_objectives_and_the_verdict_of_every_target_but_for_its_own(tmp_path: Path) -> None:
    settings = typed(
        tmp_path,
        """
        objectives: {first_token: {p50: 1s, p95: 2s}, success_ratio: 0.99, cpu_ratio: 0.8}
        verdict: {misses: 4, blind_after: 5m}
        targets:
        - url: http://a
        - url: http://b
          objectives: {first_token: {p99.9: 4s}, success_ratio: none, tokens_per_second: 20}
          verdict: {blind_after: 1m}
        """,
    )

    first, second = settings.targets
    assert (first.objectives, first.verdict) == (settings.objectives, settings.verdict)
    assert (second.objectives.first_token, second.objectives.success_ratio) == ({"p99.9": 4.0}, None)
    assert (second.objectives.tokens_per_second, second.objectives.cpu_ratio) == (20.0, 0.8)
    assert (second.verdict.misses, second.verdict.blind_after) == (4, 60.0)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("auto", None),
        ("AUTO", None),
        ("0", (0,)),
        ("[1, '0']", (1, 0)),
        ("GPU-1b1c7ab9-5fd9-7a0c-8f1c-0a1b2c3d4e5f", ("GPU-1b1c7ab9-5fd9-7a0c-8f1c-0a1b2c3d4e5f",)),
        ("[MIG-GPU-1b1c7ab9/7/0, MIG-0a1b]", ("MIG-GPU-1b1c7ab9/7/0", "MIG-0a1b")),
        ("[]", ()),
    ],
)
def test_gpus_are_indexes_and_uuids_or_those_that_are_found(
    tmp_path: Path, text: str, meant: tuple[int | str, ...] | None
) -> None:
    assert typed(tmp_path, f"targets: [{{url: 'http://a', gpus: {text}}}]").targets[0].gpus == meant


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("all", "all"),
        ("Targets", "targets"),
        ("0", (0,)),
        ("'[1, 0]'", (1, 0)),
        ("[1, GPU-a0b1]", (1, "GPU-a0b1")),
    ],
)
def test_the_gpus_that_are_read_are_all_or_those_of_the_services_or_some(
    tmp_path: Path, text: str, meant: str | tuple[int | str, ...]
) -> None:
    assert typed(tmp_path, f"gpu: {{devices: {text}}}").gpu.devices == meant


def test_the_gpus_that_are_read_may_stand_in_a_variable() -> None:
    settings = load({}, file=None, environ={"MODEL_SIDECAR_GPU__DEVICES": '["GPU-a0b1", 1]'})

    assert settings.gpu.devices == ("GPU-a0b1", 1)


@pytest.mark.parametrize("percentile", ["p1", "p50", "p99", "p99.9", "p99.999", "p99.09"])
def test_a_percentile_is_named_as_it_is_typed(tmp_path: Path, percentile: str) -> None:
    assert typed(tmp_path, f"objectives: {{duration: {{{percentile}: 2s}}}}").objectives.duration == {percentile: 2.0}


@pytest.mark.parametrize("text", ["# nothing\n", "{}"])
def test_a_file_that_says_nothing_sets_nothing(tmp_path: Path, text: str) -> None:
    assert typed(tmp_path, text) == Settings()


@pytest.mark.parametrize("text", ["", " \n\n"])
def test_a_file_that_was_emptied_is_refused(tmp_path: Path, text: str) -> None:
    assert told(tmp_path, text) == ["sidecar.yml is empty, expected settings, or {} for none"]


@given(st.floats(min_value=1e-3, max_value=1e8))
def test_a_duration_is_printed_as_it_can_be_typed(duration: float) -> None:
    assert seconds(spelled(duration)) == pytest.approx(duration, rel=1e-12)


def test_a_shorter_timeout_alone_ends_every_other_waiting_too(tmp_path: Path) -> None:
    settings = typed(tmp_path, "targets: [{url: 'http://a'}]\nprompt: {timeout: 20s}")

    assert settings.targets[0].prompt.timeout == 20
