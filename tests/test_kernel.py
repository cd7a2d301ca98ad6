"""What the kernel tells, in files and in answers."""

import errno
import os
import socket
from pathlib import Path
from struct import pack

import pytest

from exporter.kernel import PIECE, asked, kept, said, written

ROUTES, SOCKETS = 0, 4


def test_a_file_is_read_to_its_end(tmp_path: Path) -> None:
    file = tmp_path / "long"
    file.write_bytes(os.urandom(3 * PIECE + 1))

    assert written(file) == file.read_bytes()


def test_a_file_that_the_kernel_writes_in_pieces_is_read_whole() -> None:
    assert said("/proc/self/limits") == Path("/proc/self/limits").read_text()
    assert len(said("/proc/vmstat").splitlines()) == len(Path("/proc/vmstat").read_text().splitlines())


def test_a_file_that_stays_says_each_time_what_it_says_then(tmp_path: Path) -> None:
    file = tmp_path / "stays"
    file.write_text("long" * PIECE)
    first = kept(file)
    file.write_text("short")

    assert (first, kept(file)) == ("long" * PIECE, "short")


def test_what_is_no_text_is_said_all_the_same(tmp_path: Path) -> None:
    file = tmp_path / "name"
    file.write_bytes(b"py\xffthon")

    assert said(file) == "py\ufffdthon"


def test_a_file_that_is_not_there_and_a_folder_raise(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        said(tmp_path / "missing")
    with pytest.raises(IsADirectoryError):
        said(tmp_path)


def test_no_file_stays_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  the same listing both times

    said("/proc/self/stat")
    with pytest.raises(IsADirectoryError):
        said(tmp_path)

    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_each_thing_that_the_kernel_lists_is_a_message() -> None:
    links = list(asked(ROUTES, 18, pack("=BxHiII", socket.AF_UNSPEC, 0, 0, 0, 0)))  # RTM_GETLINK

    assert len(links) == len(socket.if_nameindex())


def test_what_the_kernel_refuses_raises() -> None:
    broken = pack("=52xI4x", 1) + pack("=HHBBHBBH", 12, 1, 255, 1, 1, 0, 0, 0)  # a filter that is no program

    with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
        list(asked(SOCKETS, 18, broken))


def test_a_list_that_ends_with_an_error_raises() -> None:
    unknown = pack("=BBxxI48x", socket.AF_INET, 255, 1)  # a protocol without sockets

    with pytest.raises(OSError, match=os.strerror(errno.ENOENT)):
        list(asked(SOCKETS, 20, unknown))
