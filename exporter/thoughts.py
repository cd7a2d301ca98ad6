"""What a model thinks aloud in the text of its answer, told apart from the answer itself."""

from dataclasses import replace

from exporter.wire import Delta

OPENING, CLOSING = "<think>", "</think>"


class Aloud:
    """Tells what stands from `<think>` to `</think>` at the beginning of an answer, however its pieces are cut."""

    def __init__(self) -> None:
        self._undecided = ""
        self._awaited: str | None = OPENING
        self._end = ""

    @property
    def open(self) -> bool:
        """Whether what was said so far may yet become a thought."""
        return self._awaited == OPENING

    def apart(self, delta: Delta) -> Delta:
        """One more piece with its part of the thought as reasoning; what may yet become the mark is kept back."""
        if self._awaited is None or not delta.text:
            return delta
        thought, text = self._parted(delta.text)
        return replace(delta, text=text, reasoning=delta.reasoning + thought)

    def rest(self) -> Delta:
        """What was kept back and never became the mark, once the answer has ended."""
        return Delta(text=self._undecided)

    def _parted(self, piece: str) -> tuple[str, str]:
        blank = ""
        if self._awaited == OPENING:
            blank, piece = self._begun(piece)
        thought, text = self._thought(piece) if self._awaited == CLOSING else ("", piece)
        return thought, blank + text

    def _begun(self, piece: str) -> tuple[str, str]:
        beginning = self._undecided + piece if self._undecided else piece.lstrip()
        blank = piece[: max(len(piece) - len(beginning), 0)]
        self._undecided = ""
        if beginning.startswith(OPENING):
            self._awaited = CLOSING
        elif beginning and OPENING.startswith(beginning):
            beginning, self._undecided = "", beginning
        elif beginning:
            self._awaited = None
        return blank, beginning

    def _thought(self, piece: str) -> tuple[str, str]:
        before = len(self._end)
        seen = self._end + piece
        at = seen.find(CLOSING)
        if at < 0:
            self._end = seen[1 - len(CLOSING) :]  # the mark may be cut in two
            return piece, ""
        self._awaited = None
        length = at + len(CLOSING) - before
        return piece[:length], piece[length:]
