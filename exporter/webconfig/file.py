"""The format of `--web.config.file`, as the exporters of Prometheus have it: TLS, headers, users and a rate."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import field
from enum import StrEnum
from pathlib import Path

from exporter.frozen import frozen
from exporter.webconfig.document import Section, Setting, document, valued
from exporter.webconfig.limits import Rate
from exporter.webconfig.users import is_hash

VERSIONS = {"TLS10": 0x0301, "TLS11": 0x0302, "TLS12": 0x0303, "TLS13": 0x0304}
"""The versions of TLS by their numbers on the wire."""

FORWARD_SECRET = {
    f"TLS_ECDHE_{key}_WITH_{theirs}": f"ECDHE-{key}-{ours}"
    for theirs, ours in {
        "AES_128_GCM_SHA256": "AES128-GCM-SHA256",
        "AES_256_GCM_SHA384": "AES256-GCM-SHA384",
        "CHACHA20_POLY1305_SHA256": "CHACHA20-POLY1305",
        "AES_128_CBC_SHA": "AES128-SHA",
        "AES_256_CBC_SHA": "AES256-SHA",
    }.items()
    for key in ("ECDSA", "RSA")
}
CIPHERS: Mapping[str, str | None] = {
    **FORWARD_SECRET,
    # Exporters built with Go up to 1.21 know these too.
    "TLS_RSA_WITH_AES_128_GCM_SHA256": "AES128-GCM-SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384": "AES256-GCM-SHA384",
    "TLS_RSA_WITH_AES_128_CBC_SHA": "AES128-SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA": "AES256-SHA",
    # Those of TLS 1.3 are always on, here as there.
    **dict.fromkeys(("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")),
}
"""OpenSSL's names of the ciphers that Go names."""

CURVES = {"CurveP256": "P-256", "CurveP384": "P-384", "CurveP521": "P-521", "X25519": "X25519"}
"""OpenSSL's names of the curves that Go names."""

HEADERS: Mapping[str, tuple[str, ...]] = {
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
    "Content-Security-Policy": (),
}
"""The headers that can be set, and what they can be set to; to anything where that is left open."""

CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
STRETCH = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
DURATION = re.compile(rf"[+-]?({STRETCH.pattern})+")
INTEGER = re.compile(r"[+-]?\d{1,18}")


class ClientAuth(StrEnum):
    """What is asked of a client by way of a certificate."""

    NOTHING = "NoClientCert"
    REQUESTED = "RequestClientCert"
    ANY = "RequireAnyClientCert"
    VERIFIED_IF_GIVEN = "VerifyClientCertIfGiven"
    VERIFIED = "RequireAndVerifyClientCert"


CLIENT_AUTH = {**{str(each): each for each in ClientAuth}, "RequireClientCert": ClientAuth.ANY}

Pem = Path | str
"""Certificates or a key: in a file, or here and now."""


@frozen
class Tls:
    """How the server proves who it is, and what it asks of its clients."""

    certificate: Pem
    key: Pem = field(repr=False)
    client_ca: Pem | None
    client_auth: ClientAuth
    client_allowed_sans: frozenset[str] | None
    versions: tuple[int, int]
    ciphers: tuple[str | None, ...]
    curves: tuple[str, ...]
    in_our_order: bool


@frozen
class WebConfig:
    """What the file says."""

    tls: Tls | None
    headers: Mapping[str, str]
    users: Mapping[str, str] = field(repr=False)
    rate: Rate | None

    @property
    def files(self) -> Iterator[Path]:
        """The other files that it names."""
        pems = (self.tls.certificate, self.tls.key, self.tls.client_ca) if self.tls else ()
        return (pem for pem in pems if isinstance(pem, Path))


def read(file: Path) -> WebConfig:
    """What a file says, other files unread; raises WrongWebConfig."""
    whole = document(file)
    config = WebConfig(
        tls=_tls(whole.under("tls_server_config"), file.parent),
        headers=_headers(whole.under("http_server_config")),
        users={name: _hash(setting) for name, setting in whole.under("basic_auth_users")},
        rate=_rate(whole.under("rate_limit")),
    )
    whole.end()
    return config


def _tls(section: Section, folder: Path) -> Tls | None:
    certificate = _pem(section, "cert", folder)
    key = _pem(section, "key", folder)
    client_ca = _pem(section, "client_ca", folder)
    sans = section.get("client_allowed_sans")
    client_auth = section.one_of(CLIENT_AUTH, "client_auth_type", ClientAuth.NOTHING)
    lowest = section.one_of(VERSIONS, "min_version", VERSIONS["TLS12"])
    highest = section.one_of(VERSIONS, "max_version", VERSIONS["TLS13"])
    ciphers = section.all_of(CIPHERS, "cipher_suites")
    curves = section.all_of(CURVES, "curve_preferences")
    in_our_order = section.switch("prefer_server_cipher_suites", default=True)
    section.end()
    if not list(section):
        return None
    if highest < lowest:
        raise section.wrong("of a max_version below its min_version")
    if not certificate:
        raise section.lacks("cert_file")
    if not key:
        raise section.lacks("key_file")
    if client_ca and client_auth is ClientAuth.NOTHING:
        raise section.lacks("client_auth_type, which client_ca_file needs")
    return Tls(
        certificate=certificate,
        key=key,
        client_ca=client_ca,
        client_auth=client_auth,
        client_allowed_sans=None if sans is None else frozenset(sans.texts),
        versions=(lowest, highest),
        ciphers=ciphers,
        curves=curves,
        in_our_order=in_our_order,
    )


def _pem(section: Section, name: str, folder: Path) -> Pem | None:
    """A file where one is named, even beside the text itself."""
    text, file = section.text(name), section.text(f"{name}_file")
    return folder / file if file else text or None


def _headers(section: Section) -> Mapping[str, str]:
    section.switch("http2", default=True)  # HTTP/1.1 is all that is spoken here, which every client of HTTP/2 speaks.
    given = section.under("headers")
    section.end()
    headers = {name: _header(name, setting) for name, setting in given}
    return {name: value for name, value in headers.items() if value}


def _header(name: str, setting: Setting) -> str:
    if name not in HEADERS:
        raise setting.unknown(name, HEADERS)
    if values := HEADERS[name]:
        return valued(setting, setting.text, dict(zip(values, values, strict=True)))
    if CONTROL.search(setting.text):
        raise setting.wrong("a text with control characters")
    return " ".join(setting.text.splitlines()).strip()


def _hash(setting: Setting) -> str:
    if not is_hash(setting.text):
        raise setting.wrong("not a hash of bcrypt, such as htpasswd -nB gives")
    return setting.text


def _rate(section: Section) -> Rate | None:
    interval, burst = section.get("interval"), section.get("burst")
    section.end()
    seconds = 0.0 if interval is None else _duration(interval)
    if seconds <= 0:
        return None
    if burst is None or not INTEGER.fullmatch(burst.text) or int(burst.text) < 1:
        raise section.lacks("a burst of 1 or more, so that nobody is let in")
    return Rate(interval=seconds, burst=int(burst.text))


def _duration(setting: Setting) -> float:
    """Seconds; a bare number is nanoseconds, as in Go."""
    if INTEGER.fullmatch(setting.text):
        return int(setting.text) * SECONDS["ns"]
    if not DURATION.fullmatch(setting.text):
        raise setting.wrong(f"{setting.text!r}, expected a time such as 1s or 100ms")
    seconds = sum(float(number) * SECONDS[unit] for number, unit in STRETCH.findall(setting.text))
    return -seconds if setting.text.startswith("-") else seconds
