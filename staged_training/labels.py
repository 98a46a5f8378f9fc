"""Labels that can be learnt from: at least two, and none that is seen only once."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from staged_training.errors import InputError


def check_labels(source: Path, places: Sequence[str], labels: Sequence[str], kind: str) -> None:
    """Refuse labels that nothing can be learnt from.

    Args:
        source: The file or folder of the examples, for messages.
        places: Where in it each example stands.
        labels: The label of each example, at least one.
        kind: What an example is, such as `text`.

    Raises:
        InputError: There is one label only, or one that occurs only once.
    """
    counts = Counter(labels)
    if len(counts) < 2:
        raise InputError(
            f"{source}: every {kind} has the label '{labels[0]}'. Give examples of at least two "
            "labels."
        )
    for place, label in zip(places, labels, strict=True):
        if counts[label] == 1:
            raise InputError(
                f"{source}: the label '{label}' occurs only once ({place}). Correct it if it is a "
                "misspelling, else give more examples of it."
            )
