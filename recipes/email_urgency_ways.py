"""The ways to a model of urgency: where each begins, what it trains, and how it is trained."""

import math
import shutil
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import mean, median
from typing import Any, Literal, cast

import torch
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase, set_seed

from nlp_transfer import align, build_vocabulary
from nlp_transfer.alignment import random_like
from nlp_transfer.baselines import baseline_outcomes
from nlp_transfer.classification import (
    recurrent_classifier,
    save_classifier,
    stage_outcomes,
    staged_text_trainer,
)
from nlp_transfer.encoder_classifier import load_encoder_classifier
from nlp_transfer.language_models.recurrent import classifier_from
from nlp_transfer.models import RecurrentForCausalLM
from nlp_transfer.text_task import LabelledTexts, ProxyTask, TextTask, count_longer
from nlp_transfer.word_vectors import WordVectors
from nlp_transfer.word_vectors.base import Matrix
from staged_training import Stage, StagedTrainer, StageResult
from staged_training.experiment.outcome import Outcome
from staged_training.experiment.parallel import run_parallel, run_serial
from staged_training.experiment.run_folder import RunFolder
from staged_training.experiment.tracking import end_tracking
from staged_training.runtime.processes import on_main_process

# Epochs and rates are those with the best validation scores, as means over the five folds.
STAGES = [
    Stage("frozen embedding", train="backbone[1:], head", epochs=12, learning_rate=5e-3),
    Stage("fine-tuned", train="backbone, head", epochs=5, learning_rate=5e-4),
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


@dataclass(frozen=True)
class Way:
    """A way to a model.

    Attributes:
        kind: `control` with a random embedding, `vectors`, `proxy` with a proxy task first,
            `language model` with its embedding and recurrent layers, or `encoder`.
        name: What it begins with.
        base: The word vectors, the folder of the language model, or the name of the encoder.
        stages: What is trained; after each stage the model is a row of the table.
        proxy_stages: What is trained on the proxy task before, if anything.
    """

    kind: Literal["control", "vectors", "proxy", "language model", "encoder"]
    name: str
    base: WordVectors | Path | str
    stages: list[Stage]
    proxy_stages: list[Stage] = field(default_factory=list)

    def rows(self) -> list[str]:
        """The names of its rows."""
        return [f"{self.name}, {stage.name}" for stage in self.stages]

    def with_epochs(self, epochs: Mapping[str, int]) -> "Way":
        """The same with other epochs, without the stages that are not named."""
        return replace(
            self,
            proxy_stages=_with_epochs(self.proxy_stages, epochs),
            stages=_with_epochs(self.stages, epochs),
        )


def _with_epochs(stages: Sequence[Stage], epochs: Mapping[str, int]) -> list[Stage]:
    return [replace(s, epochs=epochs[s.name]) for s in stages if s.name in epochs]


@dataclass(frozen=True)
class Problem:
    """What was read and checked before any work began.

    Attributes:
        task: The labelled texts.
        proxy: The related task, if there is one.
        ways: The ways to a model that are tried.
        report_to: Where training is to be watched, as for `TrainingArguments`.
    """

    task: TextTask
    proxy: ProxyTask | None
    ways: list[Way]
    report_to: str = "none"

    @property
    def read(self) -> list[Any]:
        """The texts, labels and folds of both tasks."""
        task, proxy = self.task, self.proxy
        of_proxy = [proxy.names, proxy.own, proxy.shared] if proxy else []
        return [task.all, task.names, task.folds, *of_proxy]

    def what_it_knows(self) -> tuple[str, int]:
        """What the base makes of the texts, in words; and how many of them are too long for it."""
        texts, base = self.task.all.texts, self.ways[0].base
        if isinstance(base, str):
            model, tokenizer = load_encoder_classifier(base, self.task.names, seed=0)
            long = count_longer(texts, tokenizer, model.config.window)
            told = f"{long:,} of the texts are longer than the {model.config.window} tokens that "
            told += f"{base} reads at once; they are read window by window."
        else:
            vectors = cast(WordVectors, base)
            tokenizer = build_vocabulary(texts, min_frequency=1)
            told = f"{vectors.title}: {align(tokenizer, vectors).coverage}"
        return told, count_longer(texts, tokenizer, tokenizer.model_max_length)


def vector_ways(vectors: WordVectors, *, proxy: bool) -> list[Way]:
    """The control and the ways from word vectors, after a proxy task too if there is one."""
    ways = [
        Way("control", "random embedding", vectors, STAGES),
        Way("vectors", vectors.title, vectors, STAGES),
    ]
    if proxy:
        name = f"{vectors.title} + proxy task"
        ways.append(Way("proxy", name, vectors, STAGES, PROXY_STAGES))
    return ways


def encoder_way(base: str) -> Way:
    """The way from a pretrained encoder."""
    return Way("encoder", Path(base).name, base, ENCODER_STAGES)


def quick(ways: Sequence[Way]) -> list[Way]:
    """The same ways with one epoch in each stage."""
    return [way.with_epochs({s.name: 1 for s in way.proxy_stages + way.stages}) for way in ways]


def long_enough(ways: Sequence[Way], size: int) -> list[Way]:
    """The same ways with at least `MIN_STEPS` in the first stage, on so many texts."""
    epochs = math.ceil(MIN_STEPS / math.ceil(size / _batch_size(size)))

    def longer(first: Stage) -> Stage:
        return replace(first, epochs=max(first.epochs, epochs))

    return [replace(w, stages=[longer(w.stages[0]), *w.stages[1:]]) for w in ways]


def _batch_size(size: int) -> int:
    return BATCH_OF_FEW if size <= FEW_TEXTS else 32


def evaluate_all(
    run: RunFolder,
    problem: Problem,
    ways: Sequence[Way],
    folds: Sequence[int],
    seeds: Sequence[int],
    size: int | None = None,
    *,
    for_comparison: bool = False,
) -> list[list[Outcome]]:
    """Score the baselines, and every way with every seed, on each fold.

    Args:
        run: Where what is done is kept, to go on after an interruption.
        problem: The problem.
        ways: The ways to a model.
        folds: The folds to test on.
        seeds: The seeds to train with.
        size: How many texts to train on; by default all of the part.
        for_comparison: Whether the scores are all that is wanted. No model stays in the folder of
            the run then, and without an accelerator several are trained at a time.
    """
    task = problem.task
    of, prefix = ("", "") if size is None else (f", {size} labels", f"{size}-labels/")
    one = _score if for_comparison else evaluate
    pieces = {
        f"Fold {fold}, seed {seed}{of}: {way.name}": partial(
            run.run_cached,
            f"{prefix}fold-{fold}/seed-{seed}/{way.name}",
            partial(one, problem, way, fold, seed, size=size),
        )
        for fold in folds
        for seed in seeds
        for way in ways
    }
    if for_comparison and not torch.accelerator.is_available():
        done = iter(run_parallel(pieces, f"models{of}"))
    else:
        done = iter(run_serial(pieces))
    outcomes = []
    for fold in folds:
        train = task.all.select(task.training_rows(fold, size, seeds[0]))
        of_fold = baseline_outcomes(train, *task.parts(fold)[1:], task.names, task.positive)
        for items in islice(done, len(seeds) * len(ways)):
            of_fold += [Outcome(**item) for item in items]
        outcomes.append(of_fold)
    return outcomes


def evaluate(
    problem: Problem, way: Way, fold: int, seed: int, folder: Path, size: int | None = None
) -> list[dict[str, Any]]:
    """Train on one fold's training part; what came of each stage, as dictionaries.

    Args:
        problem: The problem.
        way: The way to the model.
        fold: The fold to test on.
        seed: Of all that is random.
        folder: For checkpoints, and for the model after each stage.
        size: How many texts to train on, see `TextTask.training_rows`; by default all.
    """
    task = problem.task
    _, validation, test = task.parts(fold)
    rows = task.training_rows(fold, size, seed)
    trainer, before = fit(problem, way, task.all.select(rows), validation, rows, seed, folder)
    outcomes = stage_outcomes(
        trainer, way.rows(), validation, test, task.positive, folder / "models", before
    )
    end_tracking(problem.report_to)
    return [asdict(item) for item in outcomes]


def _score(
    problem: Problem, way: Way, fold: int, seed: int, folder: Path, size: int | None
) -> list[dict[str, Any]]:
    """As `evaluate`, without the models: many would fill a disk."""
    result = evaluate(problem, way, fold, seed, folder, size)
    on_main_process(partial(shutil.rmtree, folder / "models"))
    return result


def refit(
    problem: Problem, way: Way, outcomes: Sequence[Outcome], seed: int, folder: Path
) -> dict[str, int]:
    """Train on all labelled texts, each stage for as many epochs as were best on validation."""
    best: dict[str, list[int]] = defaultdict(list)
    for stage in (stage for item in outcomes for stage in item.stages):
        best[stage["name"]].append(stage["best_epoch"])
    epochs = {name: round(median(found)) for name, found in best.items()}
    epochs = {name: number for name, number in epochs.items() if number}  # the others do not pay
    way = way.with_epochs(epochs)
    texts = problem.task.all
    trainer, _ = fit(problem, way, texts, None, range(len(texts.texts)), seed, folder)
    decision_bias = mean(item.decision_bias for item in outcomes)
    save_classifier(trainer, problem.task.positive, decision_bias, folder / "model")
    end_tracking(problem.report_to)
    return epochs


def fit(
    problem: Problem,
    way: Way,
    train: LabelledTexts,
    validation: LabelledTexts | None,
    rows: Iterable[int],
    seed: int,
    folder: Path,
) -> tuple[StagedTrainer, list[StageResult]]:
    """Train a model, from where an earlier try was cut off.

    Args:
        problem: The problem.
        way: The way to the model.
        train: What to train on.
        validation: What to choose the best epochs by; `None` to run every stage to its end.
        rows: The rows of the task whose proxy labels may be learnt from.
        seed: Of all that is random.
        folder: For checkpoints.

    Returns:
        The trainer of the last stages, and what became of the stages of the proxy task.
    """
    names, positive = problem.task.names, problem.task.positive
    before: list[StageResult] = []
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    pretrained, reuse = "backbone", True
    if way.kind == "encoder":
        model, tokenizer = load_encoder_classifier(cast(str, way.base), names, seed)
    elif way.kind == "language model":
        language_model = RecurrentForCausalLM.from_pretrained(cast(Path, way.base))
        tokenizer = AutoTokenizer.from_pretrained(cast(Path, way.base))
        model = classifier_from(language_model, names, seed)
    else:
        tokenizer, matrix = embedding(problem, way, train, seed)
        if problem.proxy and way.proxy_stages:
            texts = problem.proxy.beside(rows)
            parts = texts.without(0.1, seed) if validation else (texts, None)
            stages, proxy_names = way.proxy_stages, problem.proxy.names
            before, matrix = learn_proxy(
                stages, proxy_names, tokenizer, matrix, parts, seed, folder / "proxy"
            )
        model = recurrent_classifier(matrix, names, seed)
        pretrained, reuse = "backbone[0]", False
    trainer = staged_text_trainer(
        model,
        tokenizer,
        way.stages,
        train,
        validation,
        positive,
        folder,
        seed,
        pretrained=pretrained,
        reuse_features=reuse,
        batch_size=_batch_size(len(train.texts)),
        report_to=problem.report_to,
    )
    trainer.train(resume_from_checkpoint=trainer.begun)
    return trainer, before


def embedding(
    problem: Problem, way: Way, train: LabelledTexts, seed: int
) -> tuple[PreTrainedTokenizerBase, Matrix]:
    """The task vocabulary, and E_T or for the control random numbers like it."""
    proxy = problem.proxy
    tokenizer = build_vocabulary(train.texts + (proxy.own.texts if proxy else []), min_frequency=1)
    set_seed(seed)
    matrix = align(tokenizer, cast(WordVectors, way.base)).matrix
    return tokenizer, random_like(matrix) if way.kind == "control" else matrix


def learn_proxy(
    stages: Sequence[Stage],
    names: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    matrix: Matrix,
    parts: tuple[LabelledTexts, LabelledTexts | None],
    seed: int,
    folder: Path,
) -> tuple[list[StageResult], Matrix]:
    """Train on the proxy task; what became of its stages, and the embedding that it ended with."""
    model = recurrent_classifier(matrix, names, seed)
    trainer = staged_text_trainer(model, tokenizer, stages, *parts, 0, folder, seed)
    trainer.train(resume_from_checkpoint=trainer.begun)
    return trainer.results, model.embedding_matrix()
