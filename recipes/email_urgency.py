"""Email urgency: from GloVe vectors to a tuned model that tells urgent mail, in stages.

What it does, on each fold and for each seed:
  1. builds the task vocabulary from the training texts and aligns it to word vectors (E_T);
  2. trains a recurrent net and its head on the frozen embedding, then fine-tunes the embedding too
     at a smaller rate; the epoch that is best on validation is kept in each stage;
  3. trains the same net on a related task first, where there is one (the proxy task), removes its
     head, tunes the urgency head on the frozen base, and only then fine-tunes the base;
  4. measures all of it beside a majority vote, logistic regression on TF-IDF, and the same net on a
     random embedding, which shows what the word vectors gave.

What it costs: about two minutes for one fold on two cores, and 1 GB of memory.
What it prints: the table of models, the stages of the one that validation chose, five predictions,
and where the model and the report are. It stops before any work where the input cannot be used.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast, set_seed

from nlp_transfer import align, build_vocabulary, open_vectors
from nlp_transfer.baselines import majority_logits, tfidf_logistic_regression
from nlp_transfer.classification import LabelledTexts, shift_decision, staged_text_trainer
from nlp_transfer.emails import read_labelled_texts
from nlp_transfer.models import RecurrentConfig, RecurrentForSequenceClassification
from recipes.arguments import parse_arguments
from staged_training import InputError, Stage, StagedTrainer
from staged_training.outcome import Outcome, mean_rows, outcome
from staged_training.run_folder import RunFolder
from staged_training.splits import fold_split

DATA = Path(__file__).parent / "data" / "email_urgency"


@dataclass
class Arguments:
    """What can be asked of the recipe; each field is a flag."""

    data: str = field(
        default=str(DATA / "messages.parquet"),
        metadata={
            "help": "Labelled texts: a table (.csv, .tsv, .jsonl, .parquet), or a folder with one "
            "sub-folder of .eml files per label. Without a column `fold`, texts are dealt into five "
            "folds that keep near-duplicates together."
        },
    )
    text_columns: list[str] | None = field(
        default=None, metadata={"help": "Columns to read as text; `text`, or `subject` and `body`."}
    )
    label_column: str = field(default="label", metadata={"help": "Column of the labels."})
    positive_label: str | None = field(
        default=None, metadata={"help": "The label that matters; the rarest by default."}
    )
    vectors: str = field(
        default="glove-6b-50d",
        metadata={"help": "Word vectors: a name, or a file in GloVe, Word2Vec or gensim format."},
    )
    proxy: str | None = field(
        default=None,
        metadata={
            "help": "Texts labelled for a related task, to train on first. By default those that "
            "come with the shipped data."
        },
    )
    proxy_label_column: str = field(
        default="asks_for_action",
        metadata={
            "help": "Column of the labels of that task. Training texts that have it are used too."
        },
    )
    folds: str = field(
        default="0",
        metadata={"help": "`all` for the whole protocol, or the number of the fold to test on."},
    )
    seed: int = field(default=0, metadata={"help": "First seed of all that is random."})
    seeds: int = field(default=1, metadata={"help": "How many seeds to average over."})
    output_dir: str = field(
        default="outputs/email-urgency", metadata={"help": "Folder of the model and the report."}
    )
    resume: bool = field(
        default=False, metadata={"help": "Go on with a run that was cut off, in --output-dir."}
    )
    refit: bool = field(
        default=False,
        metadata={
            "help": "Save a model that is trained once more, on all labelled texts, with what "
            "validation chose. Its test scores are those of the evaluation."
        },
    )
    quick: bool = field(
        default=False, metadata={"help": "One epoch per stage: does it all run, in a minute?"}
    )
    push_to_hub: str | None = field(
        default=None, metadata={"help": "Name on the Hub to upload the model to, USER/NAME."}
    )


@dataclass(frozen=True)
class Part:
    """One split of the labelled texts, and what the proxy task may learn from beside it."""

    train: LabelledTexts
    validation: LabelledTexts
    test: LabelledTexts
    proxy: LabelledTexts | None


@dataclass(frozen=True)
class Problem:
    """The labelled texts, checked, with the names of their labels."""

    name: str
    dataset: Dataset
    labels: list[str]
    positive: int
    folds: NDArray[np.int64]
    proxy: Dataset | None
    proxy_label_column: str

    def part(self, fold: int) -> Part:
        """The split that tests on a fold, validates on the next and trains on the others."""
        split = fold_split(self.folds, fold)
        train, validation, test = (self._texts(rows) for rows in split)
        return Part(train, validation, test, self._proxy_texts(split.train))

    def everything(self) -> LabelledTexts:
        return self._texts(range(len(self.dataset)))

    def _texts(self, rows: Iterable[int]) -> LabelledTexts:
        part = self.dataset.select(rows)
        return LabelledTexts(part["text"][:], [self.labels.index(name) for name in part["label"]])
