"""The candidates for a set of texts: which are trained, from simple to complex."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from nlp_transfer.candidates import (
    BaseKnowledge,
    EncoderCandidate,
    TextCandidate,
    WordVectorCandidate,
)
from nlp_transfer.contrastive import tuned_by_pairs
from nlp_transfer.encoder_classifier import load_encoder_classifier
from nlp_transfer.linear_head import LinearHeadCandidate
from nlp_transfer.text_task import ProxyTask, TextTask
from nlp_transfer.tfidf import TfidfCandidate
from nlp_transfer.word_vectors import WordVectors
from staged_training.experiment.candidate import Candidate
from staged_training.experiment.cross_validation import CrossValidation
from staged_training.experiment.target import SingleLabel
from staged_training.experiment.task import FEW
from staged_training.heads.class_weights import ClassWeight

MANY = 600
"""How many texts to train on, three fifths of 1,000, it takes for all to pay.

With 50 and 100 labels of requests, urgent mails and Reuters, an encoder tuned by pairs scored 0.683
(mean of seven draws of other folds than those of the benchmark), an exact linear head of the frozen
one 0.642. With 200 and 500 it or a head of the frozen encoder was best: layers that were fine-tuned
scored less, or as much as they began with, recurrent nets on word vectors 0.09 to 0.24 less, and
these took most of the time. With all 1,200 urgent mails fine-tuning is as good as pairs on
validation, in less than half the time.
"""

Staged = TypeVar("Staged", bound=TextCandidate)


class TextCandidates(NamedTuple):
    """Candidates for a classifier of texts, from simple to complex.

    Attributes:
        controls: The control on a random embedding, if there are word vectors.
        simple: A linear model on TF-IDF.
        linear: A linear head of the encoder, if there is one.
        staged: Those that are trained in stages.
    """

    controls: list[WordVectorCandidate]
    simple: TfidfCandidate
    linear: list[LinearHeadCandidate]
    staged: list[TextCandidate]

    @property
    def all(self) -> list[Candidate]:
        """Those that validation chooses among."""
        return [self.simple, *self.linear, *self.staged]

    def describe_bases(self) -> list[BaseKnowledge]:
        """Describe what each base knows of the texts, once for those that begin alike.

        Raises:
            InputError: A base cannot be read, or knows none of the words.
        """
        by_words: dict[str, BaseKnowledge] = {}
        tuned = any(isinstance(candidate, EncoderCandidate) for candidate in self.staged)
        linear = [] if tuned else self.linear  # to read all texts once more would tell the same
        for base in (c.describe_base() for some in (linear, self.staged) for c in some):
            by_words.setdefault(base.description, base)
        return list(by_words.values())

    def describe_gains(self, result: CrossValidation) -> list[str]:
        """Describe whether word vectors paid, and the proxy task."""
        on_vectors = [c for c in self.staged if isinstance(c, WordVectorCandidate)]
        steps = pairwise([*self.controls, *on_vectors])
        changes = zip(("The vectors", "The proxy task"), steps, strict=False)
        return [result.describe_gain(what, new, old) for what, (old, new) in changes]

    def suited(self, *, vectors: bool) -> "TextCandidates":
        """Return those that pay with as many texts as there are, see `FEW` and `MANY`.

        All are, where nobody measured it: without an encoder, with several labels, with numbers.

        Args:
            vectors: Keep word vectors in any case.
        """
        size = self.simple.task.train_size
        single = isinstance(self.simple.task.target, SingleLabel)
        if size >= MANY or not self.linear or not single:
            return self
        kept = [c for c in self.staged if isinstance(c, WordVectorCandidate) and vectors]
        frozen, heads = self.linear, [c for c in self.staged if isinstance(c, EncoderCandidate)]
        if size < FEW:
            frozen, heads = [], []
        return self._replace(
            linear=[*frozen, *map(tuned_by_pairs, self.linear)],
            staged=[*kept, *(head.without_later_stages() for head in heads)],
        )

    def planned(self, *, quick: bool) -> "TextCandidates":
        """Return the same with one epoch in each stage, or with enough steps for their texts."""
        size = self.simple.task.train_size

        def plan(candidate: Staged) -> Staged:
            return candidate.quick() if quick else candidate.with_enough_steps(size)

        return self._replace(
            controls=[*map(plan, self.controls)],
            linear=[linear.quick() if quick else linear for linear in self.linear],
            staged=[*map(plan, self.staged)],
        )


def text_candidates(
    task: TextTask,
    vectors: WordVectors | None,
    base: str | None,
    cache: Path,
    proxy: ProxyTask | None = None,
    report_to: str = "none",
    class_weight: ClassWeight = None,
) -> TextCandidates:
    """Return the candidates on TF-IDF, and those that begin with word vectors and an encoder.

    Args:
        task: The labelled texts.
        vectors: Word vectors; with them comes a control on random numbers like them.
        base: An encoder, as for `load_encoder_classifier`.
        cache: The folder that features are stored in.
        proxy: A related task to train word vectors on first.
        report_to: Where training is watched, as for `TrainingArguments`.
        class_weight: What each label weighs in the loss.

    Raises:
        InputError: There is no such encoder.
    """
    shared: dict[str, Any] = {"task": task, "report_to": report_to, "class_weight": class_weight}
    simple = TfidfCandidate(task, class_weight or "balanced")
    controls: list[WordVectorCandidate] = []
    candidates: list[TextCandidate] = []
    linear: list[LinearHeadCandidate] = []
    if vectors:
        words = proxy.own.texts if proxy else ()
        on_vectors = WordVectorCandidate(
            name=vectors.title, vectors=vectors, more_texts=words, **shared
        )
        controls.append(replace(on_vectors, name="random embedding", random=True))
        candidates.append(on_vectors)
        if proxy:
            name = f"{vectors.title} + proxy task"
            candidates.append(replace(on_vectors, name=name, proxy=proxy))
    if base:
        load_encoder_classifier(base, task.names, seed=0)  # or it is refused here
        weigh = class_weight or "balanced"
        linear.append(LinearHeadCandidate(task=task, base=base, cache=cache, class_weight=weigh))
        name = Path(base).absolute().name
        candidates.append(EncoderCandidate(name=name, base=base, **shared))
    return TextCandidates(controls, simple, linear, candidates)
