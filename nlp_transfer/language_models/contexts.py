"""Contexts: which words around a word a language model reads to predict it."""

from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int32]

_FORMS = "choose `previous N`, `around N`, `last` or `nearby N`, with N from 1 up"


@dataclass(frozen=True)
class Context:
    """The words that a word is predicted from; `str` and `parse` turn it into text and back.

    Attributes:
        kind: `previous`: the `size` words before it. `around`: as many before as after it. `last`:
            the word before it. `nearby`: one word, drawn from the `size` before and the `size`
            after it (skip-gram, Mikolov et al. 2013).
        size: How many words, on each side that is read.

    Examples:
        >>> Context.parse("around 2")
        Context(kind='around', size=2)
        >>> Context.parse("around 2").width, str(Context("nearby", 5)), Context("nearby", 5).width
        (4, 'nearby 5', 1)
    """

    kind: Literal["previous", "around", "last", "nearby"]
    size: int = 1

    @classmethod
    def parse(cls, text: str) -> "Context":
        """Parse `previous 5`, `around 2`, `last` or `nearby 5`.

        Raises:
            ValueError: The text is none of these.
        """
        kind, _, size = text.partition(" ")
        sized = kind in ("previous", "around", "nearby") and size.isdecimal() and int(size) > 0
        if not sized and text != "last":
            raise ValueError(f"{text!r} is not a context; {_FORMS}.")
        return cls(cast(Literal["previous"], kind), int(size or 1))

    def __str__(self) -> str:
        return self.kind if self.kind == "last" else f"{self.kind} {self.size}"

    @property
    def width(self) -> int:
        """How many words are read at once."""
        return {"previous": self.size, "around": 2 * self.size}.get(self.kind, 1)

    def offsets(self, places: Ids, lengths: Ids, rng: np.random.Generator) -> Ids:
        """Return the positions of the context of words, relative to each.

        Args:
            places: Where each word stands in its text, from 0, `[words]`.
            lengths: How many words its text has, `[words]`.
            rng: What draws the word of `nearby`, from those that the text has.

        Returns:
            `[1 or words, width]`.
        """
        if self.kind == "nearby":
            before = np.minimum(places, self.size)
            after = np.minimum(lengths - 1 - places, self.size)
            offsets: Ids = rng.integers(np.maximum(before + after, 1), dtype=np.int32) - before
            return (offsets + (offsets >= 0))[:, None]  # not the word itself
        fixed = np.arange(-self.size, self.size + 1 if self.kind == "around" else 0, dtype=np.int32)
        return fixed[None, fixed != 0]


def windows(
    ids: Ids, lengths: Ids, context: Context, pad: int, rng: np.random.Generator
) -> tuple[Ids, Ids]:
    """Return the context of every word of some texts, and the words themselves.

    Args:
        ids: Word numbers of all texts, one text after the other, `[words]`.
        lengths: How many words each text has, `[texts]`.
        context: What is read of each word's surroundings.
        pad: Word number of what lies beyond the borders of a text.
        rng: What draws, where the context is drawn.

    Returns:
        The contexts, `[words, context.width]`, in the order of the text, and the words, `[words]`.
    """
    text = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    starts = (np.cumsum(lengths) - lengths).astype(np.int32)
    words = np.arange(len(ids), dtype=np.int32)
    # Between two texts lie as many paddings as any context reaches.
    positions = words + context.size * (text + 1)
    padded = np.full(len(ids) + context.size * (len(lengths) + 1), pad, np.int32)
    padded[positions] = ids
    offsets = context.offsets(words - starts[text], lengths[text], rng)
    return padded[positions[:, None] + offsets], ids
