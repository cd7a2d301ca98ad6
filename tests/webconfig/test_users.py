import asyncio
from base64 import b64encode

import bcrypt
import pytest

from exporter.threads import Thread
from exporter.webconfig.users import CACHED, WAITING, Crowded, Users, credentials, is_hash
from tests.webconfig.certificates import HASH, PASSWORD

SLOW = bcrypt.hashpw(PASSWORD, bcrypt.gensalt(11)).decode()


class Counted(Thread):
    """A thread that counts its calls."""

    calls = 0

    async def call(self, function):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201  as in Thread
        self.calls += 1
        return await super().call(function)


def users(hashes: dict[str, str]) -> tuple[Users, Counted]:
    thread = Counted("passwords")
    return Users(hashes, thread), thread


@pytest.mark.parametrize(
    ("name", "password", "known"),
    [
        ("alice", PASSWORD, True),
        ("alice", b"open says me", False),
        ("alice", b"", False),
        ("bob", PASSWORD, False),
        ("", PASSWORD, False),
    ],
)
def test_a_user_is_known_by_name_and_password(name: str, password: bytes, known: bool) -> None:  # noqa: FBT001
    asked, _ = users({"alice": HASH})

    assert asyncio.run(asked.know(name, password)) is known


@pytest.mark.parametrize("prefix", ["$2a$", "$2b$", "$2y$"])
def test_hashes_of_every_tool_will_do(prefix: str) -> None:
    asked, _ = users({"alice": prefix + HASH[4:]})

    assert asyncio.run(asked.know("alice", PASSWORD))


def test_of_a_password_only_what_bcrypt_sees_counts_as_in_go() -> None:
    long = bytes(range(1, 73))
    asked, _ = users({"alice": bcrypt.hashpw(long, bcrypt.gensalt(4)).decode()})

    assert asyncio.run(asked.know("alice", long + b" and more"))


@pytest.mark.parametrize(("name", "password"), [("alice", PASSWORD), ("alice", b"wrong"), ("bob", b"wrong")])
def test_a_hash_is_computed_once_whoever_asks_and_whatever_comes_of_it(name: str, password: bytes) -> None:
    asked, thread = users({"alice": HASH})

    async def thrice() -> None:
        await asyncio.gather(*(asked.know(name, password) for _ in range(3)))

    asyncio.run(thrice())

    assert thread.calls == 1


def test_a_crowd_of_wrong_passwords_does_not_push_out_a_right_one() -> None:
    asked, thread = users({"alice": HASH})

    async def attacked() -> bool:
        await asked.know("alice", PASSWORD)
        for number in range(CACHED + 1):
            await asked.know("alice", str(number).encode())
        return await asked.know("alice", PASSWORD)

    assert asyncio.run(attacked())
    assert thread.calls == CACHED + 2
    assert len(asked._wrong) == CACHED


def test_only_so_many_wait_for_their_hash() -> None:
    asked, _ = users({"alice": SLOW})

    async def crowd() -> list[bool | BaseException]:
        return await asyncio.gather(
            *(asked.know("alice", str(number).encode()) for number in range(WAITING + 5)), return_exceptions=True
        )

    told = asyncio.run(crowd())

    assert told[:WAITING] == [False] * WAITING
    assert [type(each) for each in told[WAITING:]] == [Crowded] * 5


def test_the_loop_goes_on_while_a_hash_is_computed() -> None:
    asked, _ = users({"alice": SLOW})

    async def turns() -> int:
        looking = asyncio.ensure_future(asked.know("alice", PASSWORD))
        count = 0
        while not looking.done():
            await asyncio.sleep(0)
            count += 1
        return count

    assert asyncio.run(turns()) > 100


@pytest.mark.parametrize(
    ("authorization", "found"),
    [
        (f"Basic {b64encode(b'alice:a:b').decode()}", ("alice", b"a:b")),
        (f"bASIC {b64encode(b'alice:').decode()}", ("alice", b"")),
        (f"Basic {b64encode('älice:ö'.encode()).decode()}", ("älice", "ö".encode())),
        (f"Basic {b64encode(b'alice').decode()}", None),
        (f"Basic {b64encode(b'alice:a').decode()}!", None),
        ("Basic YWxpY2U", None),
        (f"Bearer {b64encode(b'alice:a').decode()}", None),
        ("Basic /zph", None),
        ("Basic", None),
        ("", None),
    ],
)
def test_a_name_and_a_password_are_found_where_there_are_both(
    authorization: str, found: tuple[str, bytes] | None
) -> None:
    assert credentials(authorization) == found


@pytest.mark.parametrize(
    ("text", "sound"),
    [(HASH, True), (HASH.replace("$04$", "$03$"), False), (HASH.replace("$04$", "$32$"), False), (HASH + "a", False)],
    ids=["sound", "too cheap", "too dear", "too long"],
)
def test_a_hash_is_told_from_what_is_none(text: str, sound: bool) -> None:  # noqa: FBT001
    assert is_hash(text) is sound
