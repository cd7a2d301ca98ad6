"""Whether images can be looked at; meant for a process of its own, since a decoder takes time, memory and faith."""

import io
import resource
import struct
import warnings
import zlib

from exporter.frozen import frozen

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
MOST_PIXELS = 64 * 10**6
MOST_MEMORY = 2**30
ONE_COLOUR = 8  # Of 255: what a lossy format makes of one colour.

UNDECODABLE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    MemoryError,
    struct.error,
    zlib.error,
)
"""What decoders raise for broken images."""


@frozen
class Picture:
    """What an image is to be like; None where it may be anything."""

    width: int | None = None
    height: int | None = None
    blank: bool = False
    """Whether an image of one colour will do."""


def fault_within_bounds(images: tuple[bytes, ...], wanted: Picture) -> str | None:
    """What fault says, where memory is limited from now on for the whole process."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = MOST_MEMORY if hard == resource.RLIM_INFINITY else min(MOST_MEMORY, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    return fault(images, wanted)


def fault(images: tuple[bytes, ...], wanted: Picture) -> str | None:
    """What is wrong with the first image with which anything is; None where they are all as wanted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Standard error is the exporter's log.
        return next(filter(None, (_fault_of(each, wanted) for each in images)), None)


def _fault_of(encoded: bytes, wanted: Picture) -> str | None:
    # Loaded here, since it costs 5 MB, and whoever names these functions has them run elsewhere.
    from PIL import Image  # noqa: PLC0415

    try:
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                return f"an image of {image.width} x {image.height} pixels, which are too many to look at"
            image.load()
            shades = [shade for band in image.getextrema() for shade in (band if isinstance(band, tuple) else (band,))]
    except (*UNDECODABLE, Image.DecompressionBombError):
        return f"an image of {len(encoded)} bytes that cannot be decoded"
    return _misshapen(image.size, wanted) or (None if wanted.blank else _blank(image.getbands(), shades))


def _misshapen(size: tuple[int, int], wanted: Picture) -> str | None:
    width, height = size
    if (wanted.width or width, wanted.height or height) == size:
        return None
    return f"an image of {width} x {height} pixels, not {wanted.width or 'any'} x {wanted.height or 'any'}"


def _blank(bands: tuple[str, ...], shades: list[float]) -> str | None:
    darkest, brightest = shades[0::2], shades[1::2]
    if all(bright - dark <= ONE_COLOUR for dark, bright in zip(darkest, brightest, strict=True)):
        return "an image of one colour"
    transparent = ("A", 0) in zip(bands, brightest, strict=True)
    return "an image that cannot be seen, since it is transparent" if transparent else None
