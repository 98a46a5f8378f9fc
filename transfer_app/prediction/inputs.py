"""What a trained model is to predict of: a text or an image, under the name it was found by."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

_MOST_SHOWN = 1000  # characters of a text, of which a table shows less than a line


class Input(NamedTuple):
    """Something to predict of.

    Attributes:
        name: What it is called.
        content: A text, or a function that returns an image or a sequence of the slices of a scan,
            as its model takes it.
        shown: What people see of it in a table.
        problem: Why it cannot be read and has no content, if that is so.
        facts: What programs are told of it besides its name.
    """

    name: str
    content: Any
    shown: str = ""
    problem: str | None = None
    facts: Mapping[str, Any] = {}

    def load(self) -> Any:
        """Return the text, the image or the slices."""
        return self.content() if callable(self.content) else self.content


@dataclass(frozen=True)
class Unread:
    """Inputs in their order, each of which is read when it is asked for.

    Attributes:
        each: What reads each of them; one that is not called costs next to nothing.
        count: How many there are, where that is known.
    """

    each: Iterable[Callable[[], Input]]
    count: int | None = None

    def read(self) -> Iterator[Input]:
        """Yield them all, one by one."""
        return (read() for read in self.each)

    @staticmethod
    def of(inputs: Iterable[Input], count: int | None = None) -> "Unread":
        """Return inputs that need no reading."""
        return Unread((partial(_same, item) for item in inputs), count)

    @staticmethod
    def joined(parts: "list[Unread]") -> "Unread":
        """Return the inputs of several, one after the other."""
        counts = [part.count for part in parts]
        known = [count for count in counts if count is not None]
        each = chain.from_iterable(part.each for part in parts)
        return Unread(each, sum(known) if len(known) == len(counts) else None)


def _same(item: Input) -> Input:
    return item


def usable(inputs: Iterable[Input]) -> Iterable[Input]:
    """Return the inputs that can be read; of a list a list, since its length is known."""
    read = (item for item in inputs if item.problem is None)
    return list(read) if isinstance(inputs, list) else read


def text_of(name: str, text: str, problem: str = "has no text") -> Input:
    """Return a text as an input; a blank one with a problem."""
    return Input(name, text, text[:_MOST_SHOWN], None if text.strip() else problem)
