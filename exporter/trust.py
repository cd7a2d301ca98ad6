"""By which certificates services are judged: the system's, those of a file as it is now, or none."""

import ssl
from collections.abc import Awaitable, Callable
from functools import cache, partial
from pathlib import Path

from exporter.followed import Followed, Source, stamped

Trust = Callable[[], Awaitable[ssl.SSLContext]]
"""What tells by which certificates the next connection is judged."""


@cache
def trust(ca_file: str | None, *, insecure: bool) -> Trust:
    """The trust of all services with these settings; raises ValueError where the file holds no certificates."""
    # One for all of them, since a context costs 38 ms and the memory of every certificate.
    if ca_file is None:
        return partial(_same, _whoever() if insecure else ssl.create_default_context())
    file = Path(ca_file)
    source = Source(file=file, setting="tls.ca_file", about={"path": ca_file})
    since = stamped(file)
    return Followed(source, judging_by, judging_by(file), since=since).now


def judging_by(file: Path) -> ssl.SSLContext:
    """TLS that trusts what a file holds; raises ValueError, saying what was expected, where it holds nothing."""
    try:
        return ssl.create_default_context(cafile=file)
    except ssl.SSLError as error:
        raise ValueError("a file of PEM certificates") from error
    except OSError as error:
        raise ValueError(f"a file that can be read ({error.strerror})") from error


async def _same(context: ssl.SSLContext) -> ssl.SSLContext:
    return context


def _whoever() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
