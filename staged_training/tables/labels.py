"""Labels that can be learnt from: at least two, and none that is seen only once."""

import logging
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from staged_training.runtime.errors import InputError

logger = logging.getLogger(__name__)


def tidy_labels(source: Path, labels: Iterable[str]) -> list[str]:
    """Strip white space about labels, and compose their accents.

    Those that differ in case alone stay apart, with a warning.

    Args:
        source: The file or folder of the examples, for messages.
        labels: The label of each example.
    """
    tidy = [" ".join(unicodedata.normalize("NFC", label).split()) for label in labels]
    alike: dict[str, list[str]] = defaultdict(list)
    for label, count in sorted(Counter(tidy).items()):
        alike[label.casefold()].append(f"'{label}' ({count:,})")
    for variants in alike.values():
        if len(variants) > 1:
            logger.warning(
                "%s: the labels %s differ in case alone. Write them alike if they are one.",
                source,
                " and ".join(variants),
            )
    return tidy


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
