"""Training data that come in a stream, and not by row."""

from collections.abc import Iterable, Iterator
from typing import Any

from torch.utils.data import IterableDataset

from staged_training.runtime.errors import InputError


def check_repeatable(train_dataset: object) -> None:
    """Refuse data that can be iterated only once.

    Raises:
        InputError: They are an iterator.
    """
    if isinstance(train_dataset, Iterator):
        raise InputError(
            f"train_dataset is a {type(train_dataset).__name__}, which can be read only once. "
            "Give what begins anew in each epoch, such as datasets.IterableDataset."
            "from_generator(function)."
        )


class CountedStream(IterableDataset[Any]):
    """A stream that knows how many examples come, as `Trainer` must to know the steps of an epoch.

    Args:
        stream: The examples, from the first on whenever they are asked for.
        examples: How many.
    """

    def __init__(self, stream: Iterable[Any], examples: int) -> None:
        self._stream, self._examples = stream, examples

    def __len__(self) -> int:
        return self._examples

    def __iter__(self) -> Iterator[Any]:
        return iter(self._stream)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the stream, so that it is shuffled anew."""
        if hasattr(self._stream, "set_epoch"):
            self._stream.set_epoch(epoch)
