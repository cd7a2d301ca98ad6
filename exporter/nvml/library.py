"""The file that the driver's library was loaded from, and what has taken its place since."""

from pathlib import Path

from exporter.frozen import by_place

LIBRARY = "libnvidia-ml.so.1"
STEM = "/libnvidia-ml.so"
MAPPED = Path("/proc/self/maps")


@by_place
class File:
    """A file as it is known again: an upgrade puts another in its place, or points its name at another."""

    path: Path
    device: int
    inode: int
    modified: int


def loaded(library: str | None) -> File | None:
    """The file at this path, or else the one that this process found by the library's name; None before it did."""
    return at(Path(library) if library else _found())


def at(path: Path | None) -> File | None:
    """The file that is there now, whatever links lead to it."""
    if path is None:
        return None
    try:
        found = path.stat()
    except OSError:
        return None
    return File(path, found.st_dev, found.st_ino, found.st_mtime_ns)


def _found() -> Path | None:
    lines = MAPPED.read_text(errors="surrogateescape").splitlines()
    paths = (Path(line.split(maxsplit=5)[5]) for line in lines if STEM in line)
    # The name is that of a link beside the file, which is named for its version.
    return next((path.with_name(LIBRARY) for path in paths), None)
