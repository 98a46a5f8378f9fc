"""Candidates for a classifier of texts: what each begins with, what it trains, and how."""

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase, set_seed

from nlp_transfer.alignment import align, random_like
from nlp_transfer.classification import (
    classifier_logits,
    save_classifier,
    staged_text_trainer,
)
from nlp_transfer.encoder_classifier import load_encoder_classifier
from nlp_transfer.language_models.recurrent import classifier_from
from nlp_transfer.models import RecurrentForCausalLM, RecurrentForSequenceClassification
from nlp_transfer.text_task import LabelledTexts, ProxyTask, TextTask, token_counts
from nlp_transfer.vocabulary import build_vocabulary
from nlp_transfer.word_vectors import WordVectors
from nlp_transfer.word_vectors.base import Matrix
from staged_training.experiment.candidate import (
    Built,
    StagedCandidate,
    stages_with_epochs,
)
from staged_training.experiment.outcome import Outcome, mean_decision, outcome
from staged_training.experiment.scaling import Scaling
from staged_training.experiment.splits import Indices, Split
from staged_training.experiment.target import SingleLabel
from staged_training.heads.class_weights import ClassWeight
from staged_training.stages import Stage, StageResult
from staged_training.trainer import StagedTrainer

# Epochs and rates are those with the best validation scores, as means over the five folds. Patience
# hardly changes them with 1,200 urgent mails, 0.5254 as before on GloVe and 0.5258 for 0.5264 after
# the proxy task (average precision, five folds and two seeds), in 13 epochs instead of 17.
RECURRENT_STAGES = [
    Stage("frozen embedding", "backbone[1:], head", epochs=12, learning_rate=5e-3, patience=3),
    Stage("fine-tuned", train="backbone, head", epochs=5, learning_rate=5e-4, patience=2),
]
LANGUAGE_MODEL_STAGES = [
    Stage("head on the frozen base", train="head", epochs=6, learning_rate=5e-3),
    *RECURRENT_STAGES,
]
PROXY_STAGES = [
    Stage("proxy task", train="backbone[1:], head", epochs=3, learning_rate=5e-3),
    Stage("proxy embedding", train="backbone, head", epochs=3, learning_rate=2e-3),
]
ENCODER_STAGES = [
    Stage("head on the frozen base", train="head", epochs=10, learning_rate=1e-3),
    Stage("fine-tuned", train="backbone[1:], head", epochs=3, learning_rate=1e-4, layer_decay=0.8),
]

# On 100 and 500 texts, validation AP of the encoder was 0.07 and 0.44 with batches of 32, 0.12 and
# 0.50 with batches of 8, and 0.16 on 100 with three times the epochs.
FEW_TEXTS = 500
BATCH_OF_FEW = 8
MIN_STEPS = 400


class BaseKnowledge(NamedTuple):
    """What a base knows of the texts, in words, and how many of them it has to cut."""

    description: str
    cut: int


@dataclass(frozen=True, kw_only=True)
class TextCandidate(StagedCandidate):
    """A candidate for a classifier of texts.

    Attributes:
        task: The labelled texts.
        report_to: Where training is watched, as for `TrainingArguments`.
        class_weight: What each label weighs in the loss.
    """

    pretrained: ClassVar[str] = "backbone"
    reuse_features: ClassVar[bool] = True

    task: TextTask
    report_to: str = "none"
    class_weight: ClassWeight = None

    @abstractmethod
    def new_model(
        self, train: Indices, *, validates: bool, seed: int, folder: Path
    ) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, list[StageResult]]:
        """Return a model with a new head, its tokenizer, and the stages that it went through."""

    @abstractmethod
    def describe_base(self) -> BaseKnowledge:
        """Describe what the base knows of the texts, and how many it has to cut."""

    def build(self, train: Indices, validation: Indices | None, seed: int, folder: Path) -> Built:
        """Return a trainer of a new model."""
        target, scaling = self.task.target, self._scaling(train)
        model, tokenizer, earlier = self.new_model(
            train, validates=validation is not None, seed=seed, folder=folder
        )
        self.task.store_columns(model.config)
        trainer = staged_text_trainer(
            model,
            tokenizer,
            self.stages,
            self._scaled(train, scaling),
            None if validation is None else self._scaled(validation, scaling),
            target,
            folder,
            seed,
            pretrained=self.pretrained,
            reuse_features=self.reuse_features,
            batch_size=_batch_size(len(train)),
            report_to=self.report_to,
            class_weight=self.class_weight,
        )
        return Built(trainer, earlier)

    def score(
        self, trainer: StagedTrainer, row: str, split: Split, about_training: Mapping[str, Any]
    ) -> Outcome:
        """Score the model, with its decision tuned on validation."""
        scaling = self._scaling(split.train)
        parts = [self.task.all.select(rows) for rows in (split.validation, split.test)]
        logits = [scaling.unscale(classifier_logits(trainer, part)) for part in parts]
        labels = [part.labels for part in parts]
        return outcome(row, labels, logits, self.task.target, **about_training)

    def save(
        self, trainer: StagedTrainer, rows: Indices, outcomes: Sequence[Outcome], folder: Path
    ) -> None:
        """Save the model and its tokenizer, with the decision in the head."""
        decision = mean_decision(outcomes)
        save_classifier(trainer, self.task.target, self._scaling(rows), decision, folder)

    def _scaling(self, train: Indices) -> Scaling:
        return self.task.target.scaling(self.task.values[train])

    def _scaled(self, rows: Indices, scaling: Scaling) -> LabelledTexts:
        """Return texts with their labels as they are learnt."""
        some = self.task.all.select(rows)
        return replace(some, labels=[scaling.scale(value) for value in some.labels])

    def with_enough_steps(self, size: int) -> Self:
        """Return the same with at least `MIN_STEPS` in the first stage, on so many texts.

        Where that takes more epochs, all run: the scores of so few on validation end none early.
        """
        first = self.stages[0]
        epochs = math.ceil(MIN_STEPS / math.ceil(size / _batch_size(size)))
        if epochs <= first.epochs:
            return self
        return self.with_epochs(lambda stage: epochs if stage is first else stage.epochs)

    def without_later_stages(self) -> Self:
        """Return the same with its first stage alone; the others need more than a few labels."""
        return replace(self, stages=self.stages[:1])


def _batch_size(size: int) -> int:
    return BATCH_OF_FEW if size <= FEW_TEXTS else 32


@dataclass(frozen=True, kw_only=True)
class EncoderCandidate(TextCandidate):
    """A pretrained encoder with a new head.

    Attributes:
        base: As for `load_encoder_classifier`.
    """

    base: str
    stages: list[Stage] = field(default_factory=ENCODER_STAGES.copy)

    def refits(self, row: str, size: int) -> bool:
        """Return whether there are few rows, or the head alone was trained, on stored features."""
        return super().refits(row, size) or row == self.row_names()[0]

    def new_model(
        self, train: Indices, *, validates: bool, seed: int, folder: Path
    ) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, list[StageResult]]:
        """Return the encoder with a new head, and its tokenizer."""
        names, problem_type = self.task.names, self.task.target.problem_type
        return *load_encoder_classifier(self.base, names, seed, problem_type=problem_type), []

    def describe_base(self) -> BaseKnowledge:
        """Describe how many texts are read window by window, and how many are cut."""
        return encoder_knowledge(self.base, self.task)


def encoder_knowledge(base: str, task: TextTask) -> BaseKnowledge:
    """Describe how many texts an encoder reads window by window, and how many it cuts."""
    model, tokenizer = load_encoder_classifier(base, task.names, seed=0)
    lengths = np.array(token_counts(task.all.texts, tokenizer))
    window = model.config.window
    longer = int((lengths > window).sum())
    beyond = f"{longer:,} texts are longer and are read in windows"
    told = beyond if longer else "no text is longer"
    knowledge = f"{base} reads {window} tokens at once; {told}."
    return BaseKnowledge(knowledge, int((lengths > tokenizer.model_max_length).sum()))


@dataclass(frozen=True, kw_only=True)
class WordVectorCandidate(TextCandidate):
    """Word vectors of the task vocabulary (E_T), with new recurrent layers and a new head.

    Attributes:
        vectors: The word vectors.
        more_texts: Texts whose words the vocabulary has too, such as those of a proxy task.
        random: Whether random numbers like E_T are taken in its place, as a control.
        proxy: A related task to train on first; the embedding that it ends with is kept. To keep
            its recurrent layers too made urgency worse on validation.
        proxy_stages: What is trained on it.
    """

    pretrained: ClassVar[str] = "backbone[0]"
    reuse_features: ClassVar[bool] = False

    vectors: WordVectors
    stages: list[Stage] = field(default_factory=RECURRENT_STAGES.copy)
    more_texts: Sequence[str] = ()
    random: bool = False
    proxy: ProxyTask | None = None
    proxy_stages: list[Stage] = field(default_factory=PROXY_STAGES.copy)

    def with_epochs(self, epochs: Callable[[Stage], int]) -> Self:
        """Return the same with other numbers of epochs, in the stages of the proxy task too."""
        proxy_stages = stages_with_epochs(self.proxy_stages, epochs)
        return replace(super().with_epochs(epochs), proxy_stages=proxy_stages)

    def new_model(
        self, train: Indices, *, validates: bool, seed: int, folder: Path
    ) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, list[StageResult]]:
        """Return a recurrent classifier on E_T, as the proxy task left it if there is one."""
        texts = self.task.all.select(train).texts
        tokenizer = build_vocabulary([*texts, *self.more_texts], min_frequency=1)
        set_seed(seed)
        matrix = align(tokenizer, self.vectors).matrix
        if self.random:
            matrix = random_like(matrix)
        earlier: list[StageResult] = []
        if self.proxy and self.proxy_stages:
            proxy = self.proxy.beside(train)
            parts = proxy.without(0.1, seed) if validates else (proxy, None)
            earlier, matrix = self._train_on_proxy(tokenizer, matrix, parts, seed, folder / "proxy")
        target = self.task.target
        set_seed(seed)
        model = RecurrentForSequenceClassification.from_aligned(
            matrix, self.task.names, problem_type=target.problem_type
        )
        return model, tokenizer, earlier

    def _train_on_proxy(
        self,
        tokenizer: PreTrainedTokenizerBase,
        matrix: Matrix,
        parts: tuple[LabelledTexts, LabelledTexts | None],
        seed: int,
        folder: Path,
    ) -> tuple[list[StageResult], Matrix]:
        """Return the results of the stages of the proxy task, and its embedding at their end."""
        assert self.proxy
        set_seed(seed)
        model = RecurrentForSequenceClassification.from_aligned(matrix, self.proxy.names)
        target = SingleLabel(self.proxy.names, positive=0)
        stages = self.proxy_stages
        trainer = staged_text_trainer(model, tokenizer, stages, *parts, target, folder, seed)
        trainer.train(resume_from_checkpoint=trainer.begun)
        return trainer.results, model.embedding_matrix()

    def describe_base(self) -> BaseKnowledge:
        """Describe how much of the texts the vectors know; none is cut."""
        texts = self.task.all.texts
        tokenizer = build_vocabulary(texts, min_frequency=1)
        knowledge = f"{self.vectors.title}: {align(tokenizer, self.vectors).coverage}"
        most = tokenizer.model_max_length
        return BaseKnowledge(knowledge, sum(n > most for n in token_counts(texts, tokenizer)))


@dataclass(frozen=True, kw_only=True)
class LanguageModelCandidate(TextCandidate):
    """A recurrent language model, whose embedding and layers a new head is put on.

    After its head it is trained as a net on word vectors is: its recurrent layers are a good start
    and no more, so all of them train at the rate of the head. At smaller rates, one layer after the
    other as in ULMFiT, they stay too near to where they began.

    Attributes:
        base: The folder of the language model.
        stages: What is trained, in order.
    """

    reuse_features: ClassVar[bool] = False

    base: Path
    stages: list[Stage] = field(default_factory=LANGUAGE_MODEL_STAGES.copy)

    def without_later_stages(self) -> Self:
        """Return the same without the stage that trains the embedding."""
        return replace(self, stages=self.stages[:2])

    def new_model(
        self, train: Indices, *, validates: bool, seed: int, folder: Path
    ) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, list[StageResult]]:
        """Return the language model with a new head, and its tokenizer."""
        language_model = RecurrentForCausalLM.from_pretrained(self.base)
        tokenizer = AutoTokenizer.from_pretrained(self.base)
        model = classifier_from(language_model, self.task.names, seed)
        model.config.problem_type = self.task.target.problem_type
        return model, tokenizer, []

    def describe_base(self) -> BaseKnowledge:
        """Describe the model; no text is cut."""
        return BaseKnowledge(f"A language model in {self.base}.", 0)
