"""A real mail server on loopback, which wants TLS and a password, and keeps what it is sent."""

import asyncio
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email import message_from_bytes, policy
from pathlib import Path
from threading import Thread

import trustme
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

USER = "alertmanager@example.com"
PASSWORD = "swordfish"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """One mail, as it came."""

    to: str
    subject: str
    text: str
    at: float


class Mailbox:
    """All mail that has come to the server at an address, and whom a client has to trust to send some."""

    def __init__(self, address: str, authority: Path) -> None:
        self.address = address
        self.authority = authority
        self.mails: list[Mail] = []

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802  aiosmtpd's
        """Keep one mail."""
        message = message_from_bytes(envelope.original_content or b"", policy=policy.default)
        body = message.get_body(("plain",))
        self.mails.append(
            Mail(
                to=", ".join(envelope.rcpt_tos),
                subject=str(message["Subject"]),
                text="" if body is None else str(body.get_content()),
                at=time.monotonic(),
            )
        )
        return "250 OK"

    def until(self, wanted: Callable[[Mail], bool], patience: float) -> Mail | None:
        """The first mail that is wanted, once it has come; None when patience has run out."""
        end = time.monotonic() + patience
        while True:
            found = next((mail for mail in self.mails if wanted(mail)), None)
            if found is not None or time.monotonic() > end:
                return found
            time.sleep(0.2)


@contextmanager
def serving(folder: Path) -> Iterator[Mailbox]:
    """A mail server that takes mail from whoever speaks TLS and knows its password."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    loop = asyncio.new_event_loop()
    boxes: list[Mailbox] = []

    def smtp() -> SMTP:
        return SMTP(
            boxes[0],
            tls_context=context,
            require_starttls=True,
            auth_required=True,
            # Its LOGIN asks in words that Alertmanager does not know; every mail server asks otherwise.
            auth_exclude_mechanism=["LOGIN"],
            authenticator=_knows_the_password,
            loop=loop,
        )

    server = loop.run_until_complete(loop.create_server(smtp, "127.0.0.1", 0))
    port = server.sockets[0].getsockname()[1]
    boxes.append(Mailbox(f"127.0.0.1:{port}", folder / "authority.pem"))
    thread = Thread(target=loop.run_forever, name="mail", daemon=True)
    thread.start()
    try:
        yield boxes[0]
    finally:
        asyncio.run_coroutine_threadsafe(_ended(server), loop).result(timeout=10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=10)
        loop.close()


def _knows_the_password(
    _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, told: object
) -> AuthResult:
    right = LoginPassword(login=USER.encode(), password=PASSWORD.encode())
    return AuthResult(success=told == right)


async def _ended(server: asyncio.Server) -> None:
    server.close()
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await asyncio.sleep(0.1)
