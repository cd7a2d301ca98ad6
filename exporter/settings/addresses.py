"""Addresses: where a service is, where this program listens, and what a service is called after."""

import ipaddress
import re
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, WithJsonSchema

from exporter.listening import ADDRESS

PORTS = {"http": 80, "https": 443}
EACH_ADDRESS = "dns+"
"""What stands before the url of a name of which every address is a service."""
WANTED_URL = "http:// or https:// and a host, such as http://localhost:8000"
SOCKET = "unix://"
WANTED_SOCKET = "unix:// and the path of a socket, such as unix:///run/chat.sock"
HOST = re.compile(r"(?:[A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}\.?")
LONGEST_PATH = 107  # Bytes that the kernel takes, in its linux/un.h.


def split(url: str) -> SplitResult:
    """The parts of an http or https address; raises ValueError where it is none."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise ValueError(WANTED_URL) from error
    if parts.scheme not in PORTS or not _is_host(host) or port == 0 or re.search(r"[\s\x00-\x1f\x7f\\]", url):
        raise ValueError(WANTED_URL)
    return parts


def _is_host(host: str) -> bool:
    if ":" in host:
        return _address(host.partition("%")[0]) is not None
    try:
        # What is in plain letters needs no translation, which would take a hundredth of the start to load.
        plain = host if host.isascii() else host.encode("idna").decode()
    except UnicodeError:
        return False
    return HOST.fullmatch(plain) is not None


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


def socket_in(url: str) -> str | None:
    """The path of the Unix socket that the address of a service names; None where it names none."""
    return url.removeprefix(SOCKET) if url.startswith(SOCKET) else None


def is_localhost(url: str) -> bool:
    """Whether an address is that by which a service at a Unix socket is called."""
    parts = split(url)
    return (parts.scheme, parts.hostname, parts.port or PORTS["http"]) == ("http", "localhost", PORTS["http"])


def default_name(url: object) -> str:
    """The name of a service that was given none, after its address; "unnamed" where that is wrong in itself."""
    if isinstance(url, str) and (path := socket_in(url.strip())):
        return f"local:{re.sub('[^A-Za-z0-9._:-]', '-', path.rpartition('/')[2])}"
    try:
        parts = split(url.strip().removeprefix(EACH_ADDRESS)) if isinstance(url, str) else None
    except ValueError:
        parts = None
    if parts is None or parts.hostname is None:
        return "unnamed"
    address = _address(parts.hostname)
    loopback = parts.hostname == "localhost" if address is None else address.is_loopback
    return f"{'local' if loopback else parts.hostname}:{parts.port or PORTS[parts.scheme]}"


def _service(url: str) -> str:
    if (path := socket_in(url.strip())) is not None:
        return f"{SOCKET}{_path(path)}"
    plain = url.strip().removeprefix(EACH_ADDRESS)
    # What an SDK calls base_url ends in /v1, and people paste that.
    return f"{url.strip()[: -len(plain)]}{without_slash(plain).removesuffix('/v1').rstrip('/')}"


def _path(path: str) -> str:
    if not re.fullmatch(r"(?:/[^\s\x00-\x1f\x7f\\?#/]+)+", path) or len(path.encode()) > LONGEST_PATH:
        raise ValueError(WANTED_SOCKET)
    return path


def _schema(pattern: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "format": "uri", "pattern": pattern})


Url = Annotated[str, AfterValidator(without_slash), _schema("^https?://[^?#@]+$")]
ServiceUrl = Annotated[str, AfterValidator(_service), _schema(r"^(?:(?:dns\+)?https?://[^?#@]+|unix:///[^?#]+)$")]


def _listens(text: str) -> str:
    parts = ADDRESS.fullmatch(text)
    if parts is None or int(parts["port"]) not in range(65536):
        raise ValueError("an address such as :10068, 127.0.0.1:10068 or [::1]:10068")
    return text


ListenAddress = Annotated[str, AfterValidator(_listens)]
