"""The same file before node_exporter and before ours, and the same answers from both."""

import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType

import pytest

from exporter.webconfig.guard import Guard
from tests.webconfig.asking import Told, ask, basic, serving, trusting, written
from tests.webconfig.certificates import HASH, PASSWORD, Papers, papers

PROGRAM = next(
    filter(None, (os.environ.get("NODE_EXPORTER"), *map(shutil.which, ("prometheus-node-exporter", "node_exporter")))),
    None,
)
if PROGRAM is None:
    pytest.skip("no node_exporter on PATH or in NODE_EXPORTER", allow_module_level=True)

USERS = f"basic_auth_users: {{alice: {HASH}}}\n"
HEADERS = """
http_server_config:
  headers: {X-Frame-Options: deny, X-XSS-Protection: '0', Strict-Transport-Security: max-age=9}
"""
SERVER = "cert_file: server.pem, key_file: server.pem"
SECURE = f"tls_server_config: {{{SERVER}}}\n"
KNOWN = f"tls_server_config: {{{SERVER}, client_ca_file: ca.pem, client_auth_type: RequireAndVerifyClientCert}}\n"
NAMED = KNOWN.replace("}", ", client_allowed_sans: [prometheus.example]}")
NAMED_IF_GIVEN = NAMED.replace("RequireAndVerifyClientCert", "VerifyClientCertIfGiven")
COMPARED = (
    *("www-authenticate", "content-type", "x-content-type-options", "x-frame-options", "x-xss-protection"),
    *("strict-transport-security", "content-security-policy"),
)
REFUSED = "refused in TLS"

Ask = Callable[[int, Papers], Told]


@pytest.fixture(name="paper", scope="module")
def _paper(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    return papers(tmp_path_factory.mktemp("certificates"))


def asking(path: str = "/metrics", headers: Mapping[str, str] = MappingProxyType({})) -> Ask:
    return lambda port, _: ask(port, path, headers=headers)


def securely(
    certificate: str | None = None,
    version: ssl.TLSVersion | None = None,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> Ask:
    def asked(port: int, paper: Papers) -> Told:
        context = trusting(paper.ca, None if certificate is None else paper.folder / certificate)
        if version is not None:
            context.minimum_version = context.maximum_version = version
        return ask(port, tls=context, headers=headers)

    return asked


CASES: dict[str, tuple[str, Ask]] = {
    "no credentials": (USERS + HEADERS, asking()),
    "no credentials, no such path": (USERS + HEADERS, asking("/nowhere")),
    "no credentials, /-/healthy": (USERS + HEADERS, asking("/-/healthy")),
    "wrong user": (USERS + HEADERS, asking(headers=basic("bob", PASSWORD))),
    "wrong password": (USERS + HEADERS, asking(headers=basic("alice", b"wrong"))),
    "right password": (USERS + HEADERS, asking(headers=basic("alice", PASSWORD))),
    "another scheme": (USERS + HEADERS, asking(headers={"Authorization": "Bearer alice"})),
    "no base64": (USERS + HEADERS, asking(headers={"Authorization": "Basic alice"})),
    "no rules": ("", asking()),
    "TLS": (SECURE + HEADERS, securely()),
    "TLS, no credentials": (SECURE + USERS, securely()),
    "TLS, right password": (SECURE + USERS, securely(headers=basic("alice", PASSWORD))),
    "TLS, plain HTTP": (SECURE + USERS + HEADERS, asking()),
    "TLS 1.2 where 1.3 is asked": (
        SECURE.replace("}", ", min_version: TLS13}"),
        securely(version=ssl.TLSVersion.TLSv1_2),
    ),
    **{
        f"{kind}, TLS 1.{version.value - 769}": (rules, securely(certificate, version))
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
        for kind, rules, certificate in (
            ("client certificate", KNOWN, "prometheus.pem"),
            ("no client certificate", KNOWN, None),
            ("client certificate of a wrong CA", KNOWN, "stranger.pem"),
            ("client certificate expired", KNOWN, "expired.pem"),
            ("client certificate with the right name", NAMED, "prometheus.pem"),
            ("no client certificate where one with a name is asked if given", NAMED_IF_GIVEN, None),
            ("client certificate with a wrong name", NAMED, "other.pem"),
            (
                "any certificate, none shown",
                KNOWN.replace("AndVerify", "Any").replace("client_ca_file: ca.pem, ", ""),
                None,
            ),
            ("any certificate, a stranger's", KNOWN.replace("AndVerify", "Any"), "stranger.pem"),
            (
                "certificate if given, none shown",
                KNOWN.replace("RequireAndVerify", "Verify").replace("Cert}", "CertIfGiven}"),
                None,
            ),
            (
                "certificate if given, a stranger's",
                KNOWN.replace("RequireAndVerify", "Verify").replace("Cert}", "CertIfGiven}"),
                "stranger.pem",
            ),
            ("certificate requested, a stranger's", KNOWN.replace("RequireAndVerify", "Request"), "stranger.pem"),
        )
    },
    "rate limited": (
        "rate_limit: {interval: 1h, burst: 3}\n" + HEADERS,
        lambda port, _: [ask(port) for _ in range(4)][-1],
    ),
    "not yet rate limited": ("rate_limit: {interval: 1h, burst: 9}\n" + HEADERS, asking()),
}


@contextmanager
def node_exporter(rules: Path) -> Iterator[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        str(PROGRAM),
        *("--collector.disable-defaults", "--collector.time", "--log.level=error"),
        *(f"--web.listen-address=127.0.0.1:{port}", f"--web.config.file={rules}"),
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            for _ in range(200):
                if process.poll() is not None:
                    assert process.stderr is not None
                    pytest.skip(f"this node_exporter does not know the file: {process.stderr.read().strip()[-200:]}")
                if listens(port):
                    break
                time.sleep(0.02)
            yield port
        finally:
            process.terminate()


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def outcome(asked: Ask, port: int, paper: Papers) -> dict[str, object]:
    """What can be compared of an answer."""
    try:
        told = asked(port, paper)
    except (ssl.SSLError, ConnectionError):
        return {"status": REFUSED}
    compared = {name: told.headers[name] for name in COMPARED if name in told.headers}
    if told.status == 200:
        del compared["content-type"]  # of each exporter's own page
        return {"status": 200, **compared}
    return {"status": told.status, **compared, "body": told.body}


@pytest.mark.parametrize(("rules", "asked"), CASES.values(), ids=CASES)
def test_the_same_file_gives_the_same_answer(paper: Papers, rules: str, asked: Ask) -> None:
    file = written(paper.folder, rules)
    with ExitStack() as both:
        theirs = both.enter_context(node_exporter(file))
        _, ours = both.enter_context(serving(Guard(file)))

        expected, found = outcome(asked, theirs, paper), outcome(asked, ours, paper)

    print(f"{expected} | {found}")  # noqa: T201  the table of the two, for who asks for it with -s
    assert found == expected
