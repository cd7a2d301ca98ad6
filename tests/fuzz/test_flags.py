"""Whatever is typed after the program's name: it does that, or says in one line what is wrong with it."""

import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.entry import main
from exporter.program import COMMANDS, WRONG

FLAGS = ["--config.file", "--name", "--web.listen-address", "--web.config.file", "--web.enable-lifecycle"]
FLAGS += ["--log.level", "--log.format", "--version", "--help", "--prompts", "--json", "--write", "--scenario", "--"]
WORDS = st.sampled_from(
    [
        *("", "-", "--", "-1", "=", "none", "auto", "debug", "json", "chat", ":10068", "[::]:1", "localhost:99999"),
        *("http://a", "http://a:1/v1", "http://[::1", "unix:///a", "ftp://a", "http://u:secret@a", "//", "a b", "é"),
        *("/dev/null", "/nowhere", "/", "\udcff", "\x1b[31m", "a\nb", "9" * 5000, *COMMANDS),
    ]
) | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=6)
"""What a shell can hand over: no character that ends a text, and none that no text has."""
TYPED = st.one_of(
    WORDS,
    st.sampled_from(FLAGS),
    st.builds("{}={}".format, st.sampled_from(FLAGS), WORDS),
    st.sampled_from(FLAGS).flatmap(lambda flag: st.integers(1, len(flag)).map(lambda end: flag[:end])),
)


def ended(monkeypatch: pytest.MonkeyPatch, arguments: Sequence[str]) -> tuple[object, str]:
    """The exit status, and what was said of what is wrong."""
    monkeypatch.setattr(sys, "argv", ["model-sidecar", *arguments])
    said, wrong = StringIO(), StringIO()
    with redirect_stdout(said), redirect_stderr(wrong):
        try:
            status: object = main()
        except SystemExit as end:
            status = end.code
    return status, wrong.getvalue()


@settings(deadline=None, max_examples=100)
@given(what=st.sampled_from(["check", "print", "schema"]), typed=st.lists(TYPED, max_size=5))
def test_whatever_is_typed_is_done_or_refused_in_lines_that_can_be_read(what: str, typed: Sequence[str]) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        status, wrong = ended(monkeypatch, ["config", what, *typed])

    assert status in {None, 0, WRONG}
    assert all(line.isprintable() for line in wrong.splitlines()), wrong
    assert "Traceback" not in wrong
    assert bool(wrong) is (status == WRONG)


@settings(deadline=None, max_examples=50)
@given(command=st.sampled_from(FLAGS[:8]), typed=st.lists(TYPED, max_size=3))
def test_what_the_program_itself_refuses_it_refuses_before_anything_starts(command: str, typed: Sequence[str]) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        # An argument that nothing can mean, so that nothing is started.
        status, wrong = ended(monkeypatch, [*typed, command, "--no-such-flag"])

    assert status in {0, WRONG} or (typed and typed[0] in COMMANDS)
    assert all(line.isprintable() for line in wrong.splitlines()), wrong
