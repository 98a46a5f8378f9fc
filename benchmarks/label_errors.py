"""Wrong labels that `nlp-transfer review` finds: those of a reader, and breeds that were swapped.

Of the labels that the first reader gave the shipped mails 24 were changed, when a second had read
them and both labels were compared. Of the breeds of the shipped photos 5 % are replaced by others
drawn at random. How many of them are among the labels that are most suspicious?

    pip install 'nlp-transfer[vision,assets,labels]'
    python benchmarks/label_errors.py [--quick]
"""

import argparse
from dataclasses import replace

import numpy as np
import pandas as pd

from staged_training.recipe import RECIPES
from staged_training.runtime.markdown import markdown_table
from transfer_app.review.examples import read_image_examples, read_text_examples
from transfer_app.review.review import review_labels

MESSAGES = RECIPES / "data" / "email_urgency" / "messages.parquet"
PETS = RECIPES / "data" / "pets"
SWAPPED = 0.05


def of_mails(quick: bool) -> list[list[str]]:
    """Return how many of the labels that were changed are among the first so many."""
    base = "none" if quick else None
    examples = read_text_examples(str(MESSAGES), None, "label_first", None, base)
    table = pd.read_parquet(MESSAGES)
    changed = (table["label_first"] != table["label"]).to_numpy()
    order = review_labels(examples).errors.order
    return [
        [
            f"{first:,} of {len(order):,}",
            f"{changed[order[:first]].sum()} of {changed.sum()}",
            f"{changed.mean() * first:.1f}",
        ]
        for first in (50, 100, 200)
    ]


def of_breeds(quick: bool) -> list[list[str]]:
    """Return which share of swapped breeds is among the first so many, over draws."""
    examples = read_image_examples(str(PETS), "breed", None, "efficientnet-lite0")
    labels = np.array(examples.task.values)
    firsts = {share: round(share * len(labels)) for share in (SWAPPED, 2 * SWAPPED, 4 * SWAPPED)}
    found: dict[float, list[float]] = {share: [] for share in firsts}
    for draw in range(1 if quick else 5):
        rng = np.random.default_rng(draw)
        swapped = rng.choice(len(labels), round(SWAPPED * len(labels)), replace=False)
        given, names = labels.copy(), len(examples.task.names)
        given[swapped] = (given[swapped] + rng.integers(1, names, len(swapped))) % names
        task = replace(examples.task, labels=given.tolist())
        order = review_labels(replace(examples, task=task)).errors.order
        for share, first in firsts.items():
            found[share].append(np.isin(swapped, order[:first]).mean())
    return [
        [f"{first} of {len(labels)}", f"{np.mean(found[share]):.0%}", f"{share:.0%}"]
        for share, first in firsts.items()
    ]


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="words alone, and one draw")
    quick = parser.parse_args().quick
    print("Labels of the first reader that were changed:\n")
    print(markdown_table(["the most suspicious", "changed", "by chance"], of_mails(quick)))
    print("\nSwapped breeds, mean over the draws:\n")
    print(markdown_table(["the most suspicious", "swapped", "by chance"], of_breeds(quick)))


if __name__ == "__main__":
    main()
