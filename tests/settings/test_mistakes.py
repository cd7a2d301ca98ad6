"""What operators are told when settings are wrong: one line each, with the place where it was typed."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import certifi
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.settings import WrongSettings, load
from tests.settings.typed import told, typed, url

HERE = Path(__file__).parent
DURATION = "a duration above 0, such as 500ms, 15s, 5m or 24h"
WANTED_URL = "http:// or https:// and a host, such as http://localhost:8000"


def examples(file: str) -> tuple[object, ...]:
    """What is typed and what is told of it, from a file of both."""
    return tuple(map(_example, (HERE / file).read_text().strip().split("\n\n")))


def _example(text: str) -> object:
    name, _, rest = text.partition("\n")
    wrong, _, line = rest.partition("\n=> ")
    return pytest.param(wrong, line, id=name.removeprefix("# "))


@pytest.mark.parametrize(("text", "line"), examples("in_files.txt"))
def test_a_mistake_in_the_file_is_told_with_its_line(tmp_path: Path, text: str, line: str) -> None:
    assert told(tmp_path, text) == [line]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("log:\n  level: \x01", "sidecar.yml:2 is not valid YAML: the character U+0001 must not stand here"),
        (
            "[" * 1000,
            "sidecar.yml:1 is not valid YAML: a number in it is too long, or its parts stand too deep in one another",
        ),
        (
            "a: " + "9" * 5000,
            "sidecar.yml:1 is not valid YAML: a number in it is too long, or its parts stand too deep in one another",
        ),
    ],
    ids=["a character of no text", "brackets without end", "a number without end"],
)
def test_a_file_that_breaks_its_reader_is_told(tmp_path: Path, text: str, line: str) -> None:
    assert told(tmp_path, text) == [line]


@pytest.mark.parametrize(("variables", "line"), examples("in_variables.txt"))
def test_a_mistake_in_the_environment_is_told_with_its_variable(tmp_path: Path, variables: str, line: str) -> None:
    environ = dict(variable.split("=", 1) for variable in variables.splitlines())

    assert told(tmp_path, "{}", environ=environ) == [line]


ON_THE_COMMAND_LINE: Mapping[str, tuple[Mapping[str, object], str]] = {
    "a url": (url("localhost:8000"), f'URL: targets[0].url is "localhost:8000", expected {WANTED_URL}'),
    "a name": (
        url("http://a", name="a b"),
        '--name: targets[0].name is "a b", expected a name of 1 to 63 letters, digits and . _ : -',
    ),
    "a name of nothing": (
        {"targets": [{"name": "a"}]},
        "--name: targets[0].url is missing, expected an address such as http://localhost:8000",
    ),
    "an address": (
        {"web": {"listen_address": [":9000", "9001"]}},
        (
            '--web.listen-address: web.listen_address[1] is "9001", '
            "expected an address such as :10068, 127.0.0.1:10068 or [::1]:10068"
        ),
    ),
    "a level": (
        {"log": {"level": "loud"}},
        '--log.level: log.level is "loud", expected debug, info, warning or error',
    ),
    "a format": ({"log": {"format": "xml"}}, '--log.format: log.format is "xml", expected logfmt or json'),
}


@pytest.mark.parametrize(("flags", "line"), ON_THE_COMMAND_LINE.values(), ids=ON_THE_COMMAND_LINE.keys())
def test_a_mistake_on_the_command_line_is_told_with_its_flag(flags: Mapping[str, object], line: str) -> None:
    with pytest.raises(WrongSettings) as wrong:
        load(flags, file=None, environ={})

    assert list(map(str, wrong.value.mistakes)) == [line]


def test_what_is_said_of_one_service_goes_with_no_list_of_several(tmp_path: Path) -> None:
    lines = told(
        tmp_path,
        "targets: [{url: 'http://a'}, {url: 'http://b'}]",
        flags={"targets": [{"name": "c"}]},
        environ={"MODEL_SIDECAR_MODEL": "m"},
    )

    assert lines == [
        "--name is for one service, expected one target, not 2",
        "MODEL_SIDECAR_MODEL is for one service, expected one target, not 2",
    ]


def test_what_is_not_built_yet_is_refused_as_known(tmp_path: Path) -> None:
    [line] = told(tmp_path, "web: {show_answers: false}")

    assert line.endswith(" known, but not in this version")


def test_a_variable_that_is_not_built_yet_is_refused_as_known() -> None:
    with pytest.raises(WrongSettings) as wrong:
        load({}, file=None, environ={"MODEL_SIDECAR_WEB__SHOW_ANSWERS": "on"})

    assert sorted(map(str, wrong.value.mistakes)) == [
        "MODEL_SIDECAR_WEB__SHOW_ANSWERS is known, but not in this version",
    ]


def test_every_mistake_is_told_once_and_in_the_order_of_the_file(tmp_path: Path) -> None:
    lines = told(
        tmp_path,
        """
targets:
- url: http://a
  process: {port: x}
- url: http://b
  promt: {}
prompt:
  every: often
health: {every: 0}
""",
        environ={"MODEL_SIDECAR_GPU__EVERY": "x", "MODEL_SIDECAR_GPU__EVRY": "x"},
    )

    assert lines == [
        "MODEL_SIDECAR_GPU__EVRY is unknown, did you mean MODEL_SIDECAR_GPU__EVERY?",
        f'MODEL_SIDECAR_GPU__EVERY: gpu.every is "x", expected {DURATION}',
        'sidecar.yml:4: targets[0].process.port is "x", expected auto or a whole number',
        "sidecar.yml:6: targets[1].promt is unknown, did you mean prompt?",
        f'sidecar.yml:8: prompt.every is "often", expected auto or {DURATION}',
        f'sidecar.yml:9: health.every is "0", expected {DURATION}',
    ]


def test_a_mistake_is_told_where_it_was_typed_and_not_where_it_was_overridden(tmp_path: Path) -> None:
    lines = told(
        tmp_path,
        "health: {expect: {status: [200]}, timeout: 1}\nprompt: {every: x}",
        environ={"MODEL_SIDECAR_HEALTH__EXPECT__STATUS": "ok", "MODEL_SIDECAR_PROMPT__EVERY": "9"},
    )

    assert lines == ['MODEL_SIDECAR_HEALTH__EXPECT__STATUS: health.expect.status[0] is "ok", expected a whole number']


def test_a_mistake_says_its_parts_too(tmp_path: Path) -> None:
    with pytest.raises(WrongSettings) as wrong:
        typed(tmp_path, "prompt:\n  evry: 5")

    [mistake] = wrong.value.mistakes
    assert (mistake.place, mistake.setting, mistake.found, mistake.nearest) == (
        f"{tmp_path}/sidecar.yml:2",
        "prompt.evry",
        "unknown",
        "every",
    )


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(WrongSettings, match=r"^/nowhere\.yml is not readable: No such file or directory$"):
        load({}, file=Path("/nowhere.yml"), environ={})


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(WrongSettings, match=r"is not readable: Is a directory$"):
        load({}, file=tmp_path, environ={})


def test_a_file_that_is_not_utf_8_is_told_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "sidecar.yml"
    file.write_bytes(b"log:\n  level: inf\xf6\n")

    with pytest.raises(WrongSettings, match=r"sidecar\.yml:2 is not UTF-8$"):
        load({}, file=file, environ={})


def test_certificates_are_not_named_where_none_are_checked(tmp_path: Path) -> None:
    lines = told(
        tmp_path,
        f"targets: [{{url: 'https://a', tls: {{insecure_skip_verify: on, ca_file: '{certifi.where()}'}}}}]",
    )

    assert [line.partition(", expected ")[2] for line in lines] == ["none, since insecure_skip_verify is on"]


def test_a_schema_without_end_is_told(tmp_path: Path) -> None:
    deep = "{items: " * 150 + "{}" + "}" * 150

    [line] = told(tmp_path, f"checks: {{json_schema: {deep}}}")

    assert line.endswith("expected none or a JSON schema whose parts do not stand so deep in one another")


@given(st.text(alphabet="{}[]:,-&*!|?#'\" \n\t\x00\ud800aeghlorstuv0."))
def test_any_text_at_all_is_settings_or_mistakes_of_one_line_each(text: str) -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "sidecar.yml"
        file.write_bytes(text.encode(errors="surrogatepass"))

        try:
            lines = [str(load({}, file=file, environ={}).log.level)]
        except WrongSettings as wrong:
            lines = [str(mistake) for mistake in wrong.mistakes]

        assert lines
        assert all(line.isprintable() for line in lines)
