from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.webconfig.document import WrongWebConfig
from exporter.webconfig.file import ClientAuth, WebConfig, read
from exporter.webconfig.limits import Rate
from tests.webconfig.asking import written
from tests.webconfig.certificates import HASH

TLS = "tls_server_config: {cert_file: a.pem, key_file: a.key, %s}"

EVERYTHING = f"""
tls_server_config:
  cert_file: certs/server.crt
  key: |
    the key itself
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: /etc/ca.pem
  client_allowed_sans: [prometheus.example, 10.0.0.1]
  min_version: TLS11
  max_version: TLS13
  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256]
  prefer_server_cipher_suites: no
  curve_preferences: [X25519, CurveP256]
http_server_config:
  http2: false
  headers:
    X-Frame-Options: deny
    Strict-Transport-Security: max-age=31536000
    X-XSS-Protection: ""
    Content-Security-Policy: >
      default-src 'self';
      img-src *
basic_auth_users:
  alice: {HASH}
  2: {HASH}
rate_limit:
  interval: 1.5s
  burst: 3
"""


def test_everything_that_the_format_has_is_understood(tmp_path: Path) -> None:
    config = read(written(tmp_path, EVERYTHING))

    assert config.tls is not None
    assert config.tls.certificate == tmp_path / "certs/server.crt"
    assert config.tls.key == "the key itself\n"
    assert config.tls.client_ca == Path("/etc/ca.pem")
    assert config.tls.client_auth is ClientAuth.VERIFIED
    assert config.tls.client_allowed_sans == frozenset({"prometheus.example", "10.0.0.1"})
    assert config.tls.versions == (0x0302, 0x0304)
    assert config.tls.ciphers == ("ECDHE-RSA-AES128-GCM-SHA256", None)
    assert config.tls.curves == ("X25519", "P-256")
    assert not config.tls.in_our_order
    assert config.headers == {
        "X-Frame-Options": "deny",
        "Strict-Transport-Security": "max-age=31536000",
        "Content-Security-Policy": "default-src 'self'; img-src *",
    }
    assert config.users == {"alice": HASH, "2": HASH}
    assert config.rate == Rate(interval=1.5, burst=3)
    assert list(config.files) == [tmp_path / "certs/server.crt", Path("/etc/ca.pem")]


@pytest.mark.parametrize("text", ["", "{}", "# nothing", "tls_server_config:\nbasic_auth_users:\n", "rate_limit: {}"])
def test_nothing_is_asked_of_anybody_by_an_empty_file(tmp_path: Path, text: str) -> None:
    config = read(written(tmp_path, text))

    assert config == WebConfig(tls=None, headers={}, users={}, rate=None)


def test_what_is_left_out_is_as_the_toolkit_has_it(tmp_path: Path) -> None:
    config = read(written(tmp_path, "tls_server_config: {cert_file: a.pem, key_file: a.key}"))

    assert config.tls is not None
    assert config.tls.client_auth is ClientAuth.NOTHING
    assert config.tls.client_allowed_sans is None
    assert config.tls.versions == (0x0303, 0x0304)
    assert config.tls.in_our_order


@pytest.mark.parametrize(
    ("interval", "seconds"),
    [("1s", 1.0), ("1m30s", 90.0), ("250ms", 0.25), ("1000000000", 1.0), (".5h", 1800.0), ("2us", 2e-6)],
)
def test_an_interval_is_read_as_go_reads_it(tmp_path: Path, interval: str, seconds: float) -> None:
    config = read(written(tmp_path, f"rate_limit: {{interval: {interval}, burst: 1}}"))

    assert config.rate is not None
    assert config.rate.interval == pytest.approx(seconds)


@pytest.mark.parametrize("interval", ["0", "0s", "-1s"])
def test_no_interval_is_no_limit(tmp_path: Path, interval: str) -> None:
    assert read(written(tmp_path, f"rate_limit: {{interval: {interval}, burst: 1}}")).rate is None


@pytest.mark.parametrize("name", [*map(str, ClientAuth), "RequireClientCert"])
def test_every_kind_of_client_authentication_has_its_name(tmp_path: Path, name: str) -> None:
    config = read(written(tmp_path, TLS % f"client_auth_type: {name}"))

    assert config.tls is not None
    assert config.tls.client_auth in {name, "RequireAnyClientCert"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("tls_server_confg: {}", "web.yml:1: tls_server_confg is unknown, did you mean tls_server_config?"),
        ("\n\nrate_limit:\n  brust: 1", "web.yml:4: rate_limit.brust is unknown, did you mean burst?"),
        ("basic_auth_users: [alice]", "web.yml:1: basic_auth_users is not a section, expected names and values"),
        ("- a", "web.yml:1: the file is not a section, expected names and values"),
        ("rate_limit: {}\nrate_limit: {}", "web.yml:2: rate_limit is given twice"),
        ("a: [", "web.yml:1 is not valid YAML: expected the node content, but found '<stream end>'"),
        ("a: \x01", "web.yml is not valid YAML in UTF-8"),
        ("tls_server_config: {cert_file: a}", "web.yml:1: tls_server_config is without key_file"),
        ("tls_server_config: {key: a}", "web.yml:1: tls_server_config is without cert_file"),
        (TLS % "client_ca_file: ca", "tls_server_config is without client_auth_type, which client_ca_file needs"),
        (TLS % "client_auth_type: Any", "client_auth_type is 'Any', expected one of NoClientCert, RequestClientCert,"),
        (TLS % "min_version: TLS9", "min_version is 'TLS9', did you mean TLS13?"),
        (TLS % "min_version: TLS13, max_version: TLS12", "tls_server_config is of a max_version below its min_version"),
        (TLS % "cipher_suites: [AES]", "tls_server_config.cipher_suites is 'AES', expected one of TLS_ECDHE_"),
        (TLS % "cipher_suites: AES", "tls_server_config.cipher_suites is not a list"),
        (TLS % "curve_preferences: [P256]", "curve_preferences is 'P256', did you mean CurveP256?"),
        (TLS % "prefer_server_cipher_suites: maybe", "prefer_server_cipher_suites is 'maybe', expected one of true"),
        (TLS % "min_version: [TLS12]", "tls_server_config.min_version is several values, expected one"),
        ("http_server_config: {headers: {X-Mine: a}}", "http_server_config.headers.X-Mine is unknown, expected one of"),
        ("http_server_config: {headers: {X-Frame-Options: all}}", "X-Frame-Options is 'all', expected one of deny"),
        ('http_server_config: {headers: {X-XSS-Protection: "a\\0"}}', "X-XSS-Protection is a text with control"),
        ("rate_limit: {interval: soon, burst: 1}", "rate_limit.interval is 'soon', expected a time such as 1s"),
        ("rate_limit: {interval: 1s}", "rate_limit is without a burst of 1 or more, so that nobody is let in"),
    ],
)
def test_what_is_wrong_is_told_by_its_name_and_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(WrongWebConfig) as wrong:
        read(written(tmp_path, text))

    assert told in str(wrong.value)


@pytest.mark.parametrize(
    "typed", ["open sesame", "", HASH[:-1], f"{HASH[:7]}{'.' * 21}z{HASH[29:]}"[:59], "$1$salt$hash"]
)
def test_a_password_that_is_no_hash_is_refused_and_not_shown(tmp_path: Path, typed: str) -> None:
    with pytest.raises(WrongWebConfig) as wrong:
        read(written(tmp_path, f"basic_auth_users: {{alice: '{typed}'}}"))

    assert "basic_auth_users.alice is not a hash of bcrypt" in str(wrong.value)
    assert not typed or typed not in str(wrong.value)


def test_no_secret_is_shown_of_a_config(tmp_path: Path) -> None:
    shown = repr(read(written(tmp_path, EVERYTHING)))

    assert "the key itself" not in shown
    assert HASH not in shown


def test_a_file_that_is_not_there_is_told_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(WrongWebConfig, match=r"web\.yml is not readable: No such file or directory"):
        read(tmp_path / "web.yml")


FRAGMENTS = st.sampled_from(
    [*EVERYTHING.split(), "\n", "  ", ": ", "- ", "{", "}", "[", "]", "&a", "*a", "!!binary", "?", "'"]
)


@settings(deadline=None)  # which a busy machine would miss
@given(st.lists(FRAGMENTS | st.text(max_size=5), max_size=30).map(" ".join) | st.binary(max_size=60))
def test_any_bytes_are_a_config_or_wrong(tmp_path_factory: pytest.TempPathFactory, content: str | bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any.yml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode(errors="surrogatepass"))

    try:
        config = read(file)
    except WrongWebConfig as wrong:
        assert str(file) in str(wrong)  # noqa: PT017  either will do
    else:
        assert isinstance(config, WebConfig)
