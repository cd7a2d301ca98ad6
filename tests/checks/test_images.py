"""Whether images can be looked at."""

import io
import random
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from exporter.checks.images import Picture, fault

ROOT = Path(__file__).parent.parent.parent
ANY = Picture()


def encoded(image: Image.Image, form: str = "PNG") -> bytes:
    """An image as a service would send it."""
    file = io.BytesIO()
    image.save(file, form)
    return file.getvalue()


def picture(mode: str = "RGB", size: tuple[int, int] = (64, 48)) -> Image.Image:
    """An image with something to see."""
    return Image.linear_gradient("L").resize(size).convert(mode)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_an_image_with_something_to_see_is_well(form: str) -> None:
    assert fault((encoded(picture(), form),), ANY) is None


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_an_image_is_well_in_every_mode_that_png_has(mode: str) -> None:
    assert fault((encoded(picture(mode)),), ANY) is None


@pytest.mark.parametrize("colour", ["black", "white", "grey", "#0a141e"])
@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_an_image_of_one_colour_is_blank(form: str, colour: str) -> None:
    blank = encoded(Image.new("RGB", (64, 64), colour), form)

    assert fault((blank,), ANY) == "an image of one colour"
    assert fault((blank,), Picture(blank=True)) is None


def test_an_image_that_a_lossy_format_has_made_uneven_is_blank() -> None:
    noise = random.Random(7)
    uneven = Image.new("L", (64, 64))
    uneven.putdata([noise.randint(0, 3) for _ in range(64 * 64)])

    assert fault((encoded(uneven),), ANY) == "an image of one colour"


def test_an_image_that_nobody_can_see_is_blank() -> None:
    unseen = picture("RGBA")
    unseen.putalpha(0)

    assert fault((encoded(unseen),), ANY) == "an image that cannot be seen, since it is transparent"


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Picture(width=64, height=48), None),
        (Picture(width=64), None),
        (Picture(height=48), None),
        (Picture(width=48, height=64), "an image of 64 x 48 pixels, not 48 x 64"),
        (Picture(width=1024), "an image of 64 x 48 pixels, not 1024 x any"),
        (Picture(height=1024), "an image of 64 x 48 pixels, not any x 1024"),
    ],
)
def test_an_image_has_the_size_that_was_asked_for(wanted: Picture, found: str | None) -> None:
    assert fault((encoded(picture()),), wanted) == found


WHOLE = encoded(picture(size=(200, 200)))


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"<html>502 Bad Gateway</html>", id="a page"),
        pytest.param(WHOLE[:16], id="a beginning"),
        pytest.param(WHOLE[: len(WHOLE) // 2], id="half of an image"),
        pytest.param(WHOLE[:60] + bytes(200) + WHOLE[260:], id="an image with a hole"),
        pytest.param(encoded(picture(), "JPEG")[:400], id="half of a JPEG"),
        pytest.param(encoded(picture(), "WEBP")[:60], id="half of a WebP"),
        pytest.param(encoded(picture(), "GIF")[:300], id="half of a GIF"),
        pytest.param(encoded(picture("L"), "TIFF"), id="a format that no service answers in"),
        pytest.param(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n", id="a program"),
    ],
)
def test_what_cannot_be_decoded_is_no_image(broken: bytes) -> None:
    assert fault((broken,), ANY) == f"an image of {len(broken)} bytes that cannot be decoded"


def test_the_first_image_with_a_fault_tells_its_fault() -> None:
    blank = encoded(Image.new("L", (8, 8)))

    assert fault((encoded(picture()), blank, b"no image"), ANY) == "an image of one colour"


def test_no_images_have_no_fault() -> None:
    assert fault((), ANY) is None


def chunk(kind: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4) + kind + content + zlib.crc32(kind + content).to_bytes(4)


def bomb(width: int, height: int) -> bytes:
    """A small PNG that claims to be a large image."""
    head = width.to_bytes(4) + height.to_bytes(4) + b"\x08\x02\x00\x00\x00"
    packed = zlib.compress(bytes(10**6))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("width", "height"), [(8001, 8000), (12000, 12000), (100_000, 100_000), (2**31 - 1, 1)])
def test_an_image_of_too_many_pixels_is_not_decoded(width: int, height: int) -> None:
    assert (fault((bomb(width, height),), ANY) or "").startswith("an image of ")


LIMITED = """
import io, resource, sys
from exporter.checks.images import MOST_MEMORY, Picture, fault_within_bounds

print(fault_within_bounds((sys.stdin.buffer.read(),), Picture()))
print(resource.getrlimit(resource.RLIMIT_DATA)[0] <= MOST_MEMORY)
"""


def test_the_largest_image_that_is_looked_at_fits_into_the_memory_that_is_given() -> None:
    largest = encoded(Image.linear_gradient("L").resize((8000, 8000)))

    looked = subprocess.run([sys.executable, "-c", LIMITED], cwd=ROOT, input=largest, capture_output=True, check=True)

    assert looked.stdout == b"None\nTrue\n"
    assert looked.stderr == b""


whole = [encoded(picture(), form) for form in ("PNG", "JPEG", "WEBP", "GIF", "BMP")]


@settings(deadline=None, max_examples=300)
@given(
    image=st.sampled_from(whole),
    at=st.integers(0, 3000),
    cut=st.integers(0, 40),
    put=st.binary(max_size=40),
)
def test_any_bytes_are_an_image_or_none(image: bytes, at: int, cut: int, put: bytes) -> None:
    at %= len(image)
    mangled = image[:at] + put + image[at + cut :]

    found = fault((mangled,), ANY)

    assert found is None or found.startswith("an image")


def test_a_decoder_s_complaints_do_not_reach_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    fault((bomb(9500, 9500), WHOLE[:300]), ANY)

    assert capfd.readouterr().err == ""
