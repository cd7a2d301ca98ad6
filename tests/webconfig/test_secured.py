import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPResponse
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from exporter.web import Server
from exporter.webconfig.document import WrongWebConfig
from exporter.webconfig.guard import Guard
from tests.webconfig.asking import LONG, ask, serving, trusting, written
from tests.webconfig.certificates import Papers, papers, self_signed

GET = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.fixture(name="paper", scope="module")
def _paper(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    return papers(tmp_path_factory.mktemp("certificates"))


@contextmanager
def secured(paper: Papers, more: str = "", **limits: float) -> Iterator[tuple[Server, int]]:
    text = f"tls_server_config: {{cert_file: server.pem, key_file: server.pem, {more}}}"
    with serving(Guard(written(paper.folder, text)), **limits) as (server, port):
        yield server, port


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        yield client


@contextmanager
def spoken_to(port: int, context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    with connected(port) as plain, context.wrap_socket(plain, server_hostname="localhost") as client:
        yield client


def is_let_in(paper: Papers, port: int, certificate: str | None, version: ssl.TLSVersion | None = None) -> bool:
    context = trusting(paper.ca, None if certificate is None else paper.folder / certificate)
    if version is not None:
        context.maximum_version = version
    return is_answered(port, context)


def is_answered(port: int, context: ssl.SSLContext) -> bool:
    try:
        return ask(port, tls=context).status == 200
    except (ssl.SSLError, ConnectionError):
        return False


ALL = {None, "prometheus.pem", "other.pem", "expired.pem", "stranger.pem"}
GOOD = {"prometheus.pem", "other.pem"}
AUTH = [
    ("NoClientCert", None, ALL),
    ("RequestClientCert", None, ALL),
    ("RequireAnyClientCert", None, ALL - {None}),
    ("VerifyClientCertIfGiven", None, {None, *GOOD}),
    ("RequireAndVerifyClientCert", None, GOOD),
    ("RequestClientCert", "prometheus.example", {"prometheus.pem", "expired.pem", "stranger.pem"}),
    ("RequireAnyClientCert", "prometheus.example", {"prometheus.pem", "expired.pem", "stranger.pem"}),
    ("VerifyClientCertIfGiven", "prometheus.example", {"prometheus.pem"}),
    ("RequireAndVerifyClientCert", "prometheus.example", {"prometheus.pem"}),
]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("auth", "san", "let_in"), AUTH)
def test_a_client_is_let_in_by_its_certificate(
    paper: Papers, auth: str, san: str | None, let_in: set[str | None], version: ssl.TLSVersion
) -> None:
    ca = "" if auth == "NoClientCert" else "client_ca_file: ca.pem, "
    sans = f"client_allowed_sans: [nobody.example, {san}]" if san else ""
    with secured(paper, f"client_auth_type: {auth}, {ca}{sans}") as (_, port):
        found = {each for each in ALL if is_let_in(paper, port, each, version)}

    assert found == let_in


@pytest.mark.parametrize(
    "name",
    [
        x509.DNSName("mine.example"),
        x509.IPAddress(ip_address("10.1.2.3")),
        x509.IPAddress(ip_address("fd00::1")),
        x509.RFC822Name("prometheus@mail.example"),
        x509.UniformResourceIdentifier("spiffe://mesh.example/prometheus"),
    ],
)
def test_a_name_may_be_of_any_kind(paper: Papers, name: x509.GeneralName) -> None:
    self_signed(paper.folder / "named.pem", name)
    with secured(paper, f"client_auth_type: RequireAnyClientCert, client_allowed_sans: ['{name.value}']") as (_, port):
        assert is_let_in(paper, port, "named.pem")
        assert not is_let_in(paper, port, "prometheus.pem")


def test_nobody_is_let_in_by_an_empty_list_of_names(paper: Papers) -> None:
    more = "client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem, client_allowed_sans: []"
    with secured(paper, more) as (_, port):
        assert not is_let_in(paper, port, "prometheus.pem")


@pytest.mark.parametrize(
    ("more", "spoken"),
    [
        ("", {ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3}),
        ("min_version: TLS13", {ssl.TLSVersion.TLSv1_3}),
        ("max_version: TLS12", {ssl.TLSVersion.TLSv1_2}),
        ("cipher_suites: [TLS_AES_128_GCM_SHA256]", {ssl.TLSVersion.TLSv1_3}),
    ],
)
def test_the_versions_are_those_of_the_file(paper: Papers, more: str, spoken: set[ssl.TLSVersion]) -> None:
    found = set()
    with secured(paper, more) as (_, port):
        for version in VERSIONS:
            context = trusting(paper.ca)
            context.minimum_version = context.maximum_version = version
            if is_answered(port, context):
                found.add(version)

    assert found == spoken


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("lowest", "spoken"), [("TLS12", False), ("TLS11", True), ("TLS10", True)])
def test_an_old_version_is_spoken_where_the_file_wants_it(paper: Papers, lowest: str, spoken: bool) -> None:  # noqa: FBT001
    context = trusting(paper.ca)
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with secured(paper, f"min_version: {lowest}") as (_, port):
        assert is_answered(port, context) is spoken


@pytest.mark.parametrize(
    ("cipher", "common"), [("ECDHE-ECDSA-AES256-GCM-SHA384", True), ("ECDHE-ECDSA-AES128-GCM-SHA256", False)]
)
def test_the_ciphers_are_those_of_the_file(paper: Papers, cipher: str, common: bool) -> None:  # noqa: FBT001
    context = trusting(paper.ca)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(cipher)
    with secured(paper, "cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]") as (_, port):
        assert is_answered(port, context) is common


@pytest.mark.parametrize(("curve", "common"), [("prime256v1", True), ("secp521r1", True), ("secp384r1", False)])
def test_the_curves_are_those_of_the_file(paper: Papers, curve: str, common: bool) -> None:  # noqa: FBT001
    context = trusting(paper.ca)
    context.set_ecdh_curve(curve)
    with secured(paper, "curve_preferences: [CurveP521, CurveP256]") as (_, port):
        assert is_answered(port, context) is common


def test_http_1_is_agreed_on_with_a_client_that_prefers_http_2(paper: Papers) -> None:
    context = trusting(paper.ca)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with secured(paper) as (_, port), spoken_to(port, context) as client:
        assert client.selected_alpn_protocol() == "http/1.1"


def test_certificate_and_key_may_stand_in_the_file(paper: Papers, tmp_path: Path) -> None:
    pem = "\n".join(f"    {line}" for line in (paper.folder / "server.pem").read_text().splitlines())
    ca = "\n".join(f"    {line}" for line in paper.ca.read_text().splitlines())
    text = (
        f"tls_server_config:\n  client_auth_type: RequireAndVerifyClientCert\n"
        f"  cert: |\n{pem}\n  key: |\n{pem}\n  client_ca: |\n{ca}\n"
    )
    with serving(Guard(written(tmp_path, text))) as (_, port):
        assert is_let_in(paper, port, "prometheus.pem")
        assert not is_let_in(paper, port, "stranger.pem")


@pytest.mark.parametrize("layout", [PrivateFormat.TraditionalOpenSSL, PrivateFormat.PKCS8])
def test_a_key_may_be_written_in_either_way(paper: Papers, layout: PrivateFormat) -> None:
    key = load_pem_private_key((paper.folder / "server.pem").read_bytes(), None)
    (paper.folder / "a.key").write_bytes(key.private_bytes(Encoding.PEM, layout, NoEncryption()))
    text = "tls_server_config: {cert_file: server.pem, key_file: a.key}"
    with serving(Guard(written(paper.folder, text))) as (_, port):
        assert is_let_in(paper, port, None)


def test_a_key_with_a_password_is_refused(paper: Papers) -> None:
    key = load_pem_private_key((paper.folder / "server.pem").read_bytes(), None)
    hidden = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    (paper.folder / "hidden.key").write_bytes(hidden)

    with pytest.raises(WrongWebConfig, match=r"key_file .*hidden\.key is no private key of .*server\.pem"):
        Guard(written(paper.folder, "tls_server_config: {cert_file: server.pem, key_file: hidden.key}"))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ("cert_file: none.pem, key_file: server.pem", r"cert_file .*none\.pem is not readable: No such file"),
        ("cert_file: web.yml, key_file: server.pem", r"cert_file .*web\.yml is no certificate in PEM"),
        ("cert_file: server.pem, key_file: other.pem", r"key_file .*other\.pem is no private key of .*server\.pem"),
        ("cert: nonsense, key_file: server.pem", r"tls_server_config\.cert is no certificate in PEM"),
        (
            "cert_file: server.pem, key_file: server.pem, client_auth_type: RequestClientCert, client_ca_file: web.yml",
            r"client_ca_file .*web\.yml is no certificate in PEM",
        ),
    ],
)
def test_files_that_will_not_do_are_told_by_their_names(paper: Papers, settings: str, told: str) -> None:
    with pytest.raises(WrongWebConfig, match=told):
        Guard(written(paper.folder, f"tls_server_config: {{{settings}}}"))


@pytest.mark.parametrize("said", [GET, b"GET /", b"POST / HTTP/1.1\r\n\r\n", b"OPTIONS * HTTP/1.1\r\n\r\n"])
def test_plain_http_is_told_what_is_wrong_as_go_tells_it(paper: Papers, said: bytes) -> None:
    with secured(paper) as (server, port), connected(port) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.sendall(said[:2])
        time.sleep(0.01)
        client.sendall(said[2:])
        told = end(client)

        assert told == b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
        assert server.requests["other", "400"] == 1


@pytest.mark.parametrize(
    "said", [b"SSH-2.0-x\r\n", bytes(10), b"\x16\x03\x01\xff\xff" + bytes(70000), b"\x16GET / HTTP"]
)
def test_what_is_neither_is_dropped_without_a_word(paper: Papers, said: bytes) -> None:
    with secured(paper) as (_, port):
        with connected(port) as client:
            client.sendall(said)
            answer = end(client)

        assert b"HTTP" not in answer
        assert is_let_in(paper, port, None)


def end(client: socket.socket) -> bytes:
    said = b""
    try:
        while more := client.recv(65536):
            said += more
    except ConnectionResetError:
        pass
    return said


def test_a_handshake_may_come_a_byte_at_a_time(paper: Papers) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = trusting(paper.ca).wrap_bio(incoming, outgoing, server_hostname="localhost")
    with secured(paper) as (_, port), connected(port) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def patiently(act: Callable[[], object]) -> object:
            while True:
                try:
                    return act()
                except ssl.SSLWantReadError:
                    trickle()
                    incoming.write(client.recv(65536))

        def trickle() -> None:
            for byte in outgoing.read():
                client.sendall(bytes([byte]))

        patiently(tls.do_handshake)
        tls.write(GET)
        told = patiently(lambda: tls.read(15))

    assert told == b"HTTP/1.1 200 OK"


def test_a_long_answer_comes_whole(paper: Papers) -> None:
    with secured(paper) as (_, port):
        told = ask(port, "/long", tls=trusting(paper.ca))

    assert told.body == LONG


def test_a_connection_is_kept_for_many_requests(paper: Papers) -> None:
    statuses = []
    with secured(paper) as (_, port), spoken_to(port, trusting(paper.ca)) as client:
        for _ in range(20):
            client.sendall(GET)
            response = HTTPResponse(client)
            response.begin()
            response.read()
            statuses.append(response.status)

    assert statuses == [200] * 20


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01"])
def test_a_handshake_that_does_not_end_is_dropped(paper: Papers, said: bytes) -> None:
    with secured(paper, request_seconds=0.2) as (_, port), connected(port) as client:
        client.sendall(said)

        assert end(client) == b""


def test_a_client_that_does_not_read_its_answer_is_dropped(paper: Papers) -> None:
    with secured(paper, answer_seconds=0.3) as (server, port), socket.socket() as plain:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plain.connect(("127.0.0.1", port))
        client = trusting(paper.ca).wrap_socket(plain, server_hostname="localhost")
        client.sendall(GET.replace(b"metrics", b"long"))
        for _ in range(100):
            time.sleep(0.05)
            if not server._connections:
                break
        client.close()

        assert not server._connections


def test_a_crowd_of_silent_connections_keeps_nobody_out(paper: Papers) -> None:
    with secured(paper, connections=10) as (server, port), ExitStack() as crowd:
        for _ in range(30):
            crowd.enter_context(connected(port))
        let_in = is_let_in(paper, port, None)

        assert let_in
        assert len(server._connections) <= 11


def test_a_connection_that_is_reset_leaves_nothing_behind(paper: Papers) -> None:
    with secured(paper) as (server, port):
        for said in (b"", b"\x16", GET):
            with connected(port) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.sendall(said)
        assert is_let_in(paper, port, None)  # after all of them
        for _ in range(100):
            if not server._connections:
                break
            time.sleep(0.02)

        assert not server._connections


def test_stopping_drops_every_connection(paper: Papers) -> None:
    with secured(paper) as (server, port), connected(port) as plain, connected(port) as silent:
        client = trusting(paper.ca).wrap_socket(plain, server_hostname="localhost")
        client.sendall(GET)
        client.recv(1000)
        server.stop()

        assert end(silent) == b""
        assert not server._thread.is_alive()
        client.close()
