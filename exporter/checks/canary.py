"""A question whose answer is known, and how far to believe a model that misses it."""

from dataclasses import replace
from enum import StrEnum
from typing import Self
from zlib import crc32

from exporter.checks.numbers import numbers
from exporter.frozen import frozen

SMALLEST, MANY = 50, 50
"""Two numbers from 50 to 99 have a sum of three digits, so that question and answer keep their width."""
TRUSTED_AFTER = 50
BELIEVED_AFTER = 5


class Canary(StrEnum):
    """Whether a wrong sum is a failure."""

    AUTO = "auto"
    """Of a model that has been right for so long that it can add."""
    ON = "on"
    OFF = "off"


@frozen
class Sum:
    """A sum to ask for, always another one, and always of the same length."""

    left: int
    right: int
    nonce: str

    @classmethod
    def drawn(cls, nonce: str) -> Self:
        """The sum that belongs to a nonce."""
        left, right = divmod(crc32(nonce.encode(errors="replace")) % MANY**2, MANY)
        return cls(left=SMALLEST + left, right=SMALLEST + right, nonce=nonce)

    @property
    def question(self) -> str:
        """What to ask, with the nonce after it."""
        # The counting after it gives tokens to time.
        return f"What is {self.left} + {self.right}? Say it, then count from one to twenty in words. ({self.nonce})"

    def answered_by(self, text: str) -> bool:
        """Whether the right number stands anywhere in a text."""
        return self.left + self.right in numbers(text)


@frozen
class Trust:
    """How far a model's sums are to be trusted, by how the last of them came out."""

    right: int = 0
    """How many in a row were right, up to the last."""
    wrong: int = 0
    trusted: bool = False
    """Whether the run of wrong ones began with a model that had been right for long."""

    def plus(self, *, right: bool | None) -> Self:
        """This trust after one more sum; one that could not be judged changes nothing."""
        if right is None:
            return self
        if right:
            return replace(self, right=self.right + 1, wrong=0, trusted=False)
        return replace(self, right=0, wrong=self.wrong + 1, trusted=self.trusted or self.right >= TRUSTED_AFTER)

    def condemns(self, canary: Canary) -> bool:
        """Whether that the last sum was wrong is a failure of the service.

        By auto the first is, of a model that was right 50 times in a row, and then none, until the fifth in a row.
        """
        if canary is Canary.AUTO:
            return self.trusted and (self.wrong == 1 or self.wrong >= BELIEVED_AFTER)
        return canary is Canary.ON and self.wrong > 0
