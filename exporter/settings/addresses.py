"""Addresses: where a service is, where this program listens, and what a service is called after."""

import ipaddress
import re
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, WithJsonSchema

from exporter.settings.kinds import Later
from exporter.web import ADDRESS

PORTS = {"http": 80, "https": 443}
WANTED_URL = "http:// or https:// and a host, such as http://localhost:8000"


def split(url: str) -> SplitResult:
    """The parts of an http or https address; raises ValueError where it is none."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise ValueError(WANTED_URL) from error
    if parts.scheme == "unix":
        raise Later
    if parts.scheme not in PORTS or not _is_host(host) or port == 0 or re.search(r"[\s\x00-\x1f\x7f\\]", url):
        raise ValueError(WANTED_URL)
    return parts


def _is_host(host: str) -> bool:
    if ":" in host:
        return _address(host.partition("%")[0]) is not None
    try:
        return re.fullmatch(r"[A-Za-z0-9._-]+", host.encode("idna").decode()) is not None
    except UnicodeError:
        return False


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def without_slash(url: str) -> str:
    """An address without a slash at its end; raises ValueError for what it must not hold."""
    url = url.strip()
    parts = split(url)
    if "@" in parts.netloc:
        raise ValueError("no name and password in it: name a file in api_key_file, or put Authorization under headers")
    if "?" in url or "#" in url:
        raise ValueError("no query and no fragment in it")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def default_name(url: object) -> str:
    """The name of a service that was given none, after its address; "unnamed" where that is wrong in itself."""
    try:
        parts = split(url.strip()) if isinstance(url, str) else None
    except ValueError:
        parts = None
    if parts is None or parts.hostname is None:
        return "unnamed"
    address = _address(parts.hostname)
    loopback = parts.hostname == "localhost" if address is None else address.is_loopback
    return f"{'local' if loopback else parts.hostname}:{parts.port or PORTS[parts.scheme]}"


URL_SCHEMA = WithJsonSchema({"type": "string", "format": "uri", "pattern": "^https?://[^?#@]+$"})
Url = Annotated[str, AfterValidator(without_slash), URL_SCHEMA]
# What an SDK calls base_url ends in /v1, and people paste that.
ServiceUrl = Annotated[str, AfterValidator(lambda url: without_slash(url).removesuffix("/v1").rstrip("/")), URL_SCHEMA]


def _listens(text: str) -> str:
    parts = ADDRESS.fullmatch(text)
    if parts is None or int(parts["port"]) not in range(65536):
        raise ValueError("an address such as :10068, 127.0.0.1:10068 or [::1]:10068")
    return text


ListenAddress = Annotated[str, AfterValidator(_listens)]
