"""The tables that are put between the marks of a text, and the text around them that is left as it is."""

from pathlib import Path

import pytest

from exporter.commands.reference import filled, write
from tests.daemon import ended

TEXT = """\
# A title

Before.
<!-- settings -->
| what stood there | before |
<!-- end of settings -->
Between | with a pipe.

<!-- metrics --><!-- end of metrics -->
After, without a line's end."""


def test_what_stands_around_the_marks_is_kept() -> None:
    text = filled(TEXT)

    assert text.startswith("# A title\n\nBefore.\n<!-- settings -->\n| setting | default | what it is for |\n")
    assert "<!-- end of settings -->\nBetween | with a pipe.\n\n<!-- metrics -->\n| metric | type |" in text
    assert text.endswith("\n<!-- end of metrics -->\nAfter, without a line's end.")
    assert "what stood there" not in text


def test_filling_a_text_again_changes_nothing() -> None:
    once = filled(TEXT)

    assert filled(once) == once


@pytest.mark.parametrize(
    "text",
    ["", "no marks at all", "<!-- settings --> but no end", "an end <!-- end of settings --> without a beginning"],
)
def test_a_text_without_both_marks_is_left_as_it_is(text: str) -> None:
    assert filled(text) == text


def test_a_pipe_in_a_cell_does_not_end_it() -> None:
    rows = [line for line in filled(TEXT).splitlines() if line.startswith("| ")]

    columns = {line.replace("\\|", "").count(" | ") for line in rows}

    assert columns == {2, 3}


def test_every_kind_of_entry_is_in_its_table() -> None:
    text = filled(TEXT)

    assert "| `prompt.max_tokens` | `16` |" in text
    assert "| `model_probe_failures_total` | counter | target, reason |" in text
    assert "| `model_probe_duration_seconds` | histogram | target |" in text


def test_a_file_is_filled_in_place(tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    file.write_text(TEXT)

    status = write(file)

    assert status == 0
    assert file.read_text() == filled(TEXT)


def test_a_file_that_is_not_there_is_named_in_one_line(tmp_path: Path) -> None:
    end = ended("reference", str(tmp_path / "missing.md"))

    assert end.returncode == 2
    (line,) = end.stderr.splitlines()
    assert "missing.md" in line
