"""Settings of the right names with whatever values: settings, or mistakes of one line each."""

import json
from collections.abc import Mapping
from functools import reduce
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.settings import WrongSettings, as_yaml, load, reference
from exporter.webconfig.document import WrongWebConfig
from exporter.webconfig.file import WebConfig, read

PLACES = [entry.name.replace("[]", ".0").split(".") for entry in reference()]
NAMES = sorted({part for place in PLACES for part in place})
WORDS = st.sampled_from(
    [
        *("auto", "none", "off", "on", "0s", "1e400s", "-1s", "9" * 5000, "1h30m", "99999999999999h", "nan", "inf"),
        *(
            "http://a",
            "http://[::1",
            "unix:///a",
            "http://a:99999",
            "//",
            "${HOME}",
            "${",
            "$.a[?(@.b)]",
            "$..",
            "a..b",
        ),
        *("(", "(a+)+$", "\ud800", "\x00", "é\u2028", "GPU-0", ":10068", "[::]:1", "openai-chat", "vllm", "~", "!!int"),
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES) | WORDS, inner, max_size=3),
    max_leaves=6,
)
GIVEN = st.lists(st.tuples(st.sampled_from(PLACES), VALUES), max_size=4)


def document(given: list[tuple[list[str], object]]) -> Mapping[str, object]:
    """Values at their places."""
    whole: dict[str, object] = {}
    for place, value in given:
        reduce(_under, place[:-1], whole)[place[-1]] = value
    return {name: _listed(value) for name, value in whole.items()}


def _under(section: dict[str, object], name: str) -> dict[str, object]:
    inner = section.get(name)
    if not isinstance(inner, dict):
        section[name] = inner = {}
    return inner


def _listed(value: object) -> object:
    if isinstance(value, dict) and set(value) == {"0"}:
        return [_listed(value["0"])]
    return {name: _listed(inner) for name, inner in value.items()} if isinstance(value, dict) else value


def lines(flags: Mapping[str, object], file: Path | None, environ: Mapping[str, str]) -> list[str]:
    """What comes of settings: those in force, as they are printed, or what is wrong with them."""
    try:
        return as_yaml(load(flags, file=file, environ=environ)).splitlines()
    except WrongSettings as wrong:
        told = [str(mistake) for mistake in wrong.mistakes]
        assert all(line.isprintable() for line in told), told
        return told


@settings(deadline=None, max_examples=50)
@given(given=GIVEN, as_json=st.booleans())
def test_a_file_with_any_values_is_settings_or_mistakes(
    given: list[tuple[list[str], object]], *, as_json: bool
) -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "sidecar.yml"
        text = json.dumps(document(given)) if as_json else yaml.dump(document(given), allow_unicode=True)
        file.write_bytes(text.encode(errors="surrogatepass"))

        assert lines({}, file, {})


ENVIRON = st.dictionaries(
    st.sampled_from(["__".join(place).upper() for place in PLACES])
    | st.sampled_from(["URL", "NAME", "API_KEY", "TARGETS", "TARGETS__0__URL", "PORT", "X__Y", "PROMPT__", "__"])
    | st.text("ABC_0", max_size=8),
    WORDS | VALUES.map(lambda value: json.dumps(value, default=str)) | st.text(max_size=8),
    max_size=4,
)


@settings(deadline=None, max_examples=50)
@given(environ=ENVIRON, flags=GIVEN)
def test_an_environment_and_flags_with_any_values_are_settings_or_mistakes(
    environ: dict[str, str], flags: list[tuple[list[str], object]]
) -> None:
    named = {f"MODEL_SIDECAR_{name}": value for name, value in environ.items()}

    assert lines({}, None, named)


WEB = ["tls_server_config", "http_server_config", "basic_auth_users", "rate_limit", "headers", "cert_file", "key_file"]
WEB += ["client_auth_type", "client_allowed_sans", "min_version", "cipher_suites", "interval", "burst", "http2", "cert"]
WEB_VALUES = st.sampled_from(["1s", "0", "-1ns", "9" * 400 + "h", "TLS12", "RequireAndVerifyClientCert", "a\r\nb: c"])
WEB_DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WEB_VALUES | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WEB), inner, max_size=4),
    max_leaves=10,
)


@settings(deadline=None, max_examples=50)
@given(said=WEB_DOCUMENTS.map(yaml.dump).map(str.encode) | st.binary(max_size=60))
def test_any_file_is_a_web_config_or_wrong(said: bytes) -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "web.yml"
        file.write_bytes(said)

        try:
            assert isinstance(read(file), WebConfig)
        except WrongWebConfig as wrong:
            assert "\n" not in str(wrong)  # noqa: PT017  either will do
