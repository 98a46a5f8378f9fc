"""Email urgency: from GloVe vectors to a tuned model that tells urgent mail, in stages.

What it does, on each fold and for each seed:
  1. builds the task vocabulary from the training texts and aligns it to word vectors (E_T);
  2. trains a recurrent net and its head on the frozen embedding, then fine-tunes the embedding too
     at a smaller rate; the epoch that is best on validation is kept in each stage;
  3. where there is a related task (the proxy task), trains such a net on it first in the same two
     stages, keeps of it the embedding, and goes on from there with new layers as in 2; to keep its
     recurrent layers too made urgency worse on validation;
  4. measures all of it beside a majority vote, logistic regression on TF-IDF, and the same net on a
     random embedding, which shows what the word vectors gave.
With --base bert, or any other encoder, it takes that in place of the word vectors: the encoder
computes its features of every text once, a head is trained on them, and then the encoder is
fine-tuned with it, each layer slower than the one above. Long texts are read window by window.

What it costs: about two minutes for one fold on two cores, and 1 GB of memory.
What it prints: the table of models, the stages of the one that validation chose, five predictions,
and where the model and the report are. It stops before any work where the input cannot be used.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import mean, median
from typing import Any, Literal

from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed

from nlp_transfer import align, build_vocabulary, open_vectors
from nlp_transfer.alignment import random_like
from nlp_transfer.baselines import baseline_outcomes
from nlp_transfer.classification import (
    recurrent_classifier,
    save_classifier,
    stage_outcomes,
    staged_text_trainer,
)
from nlp_transfer.encoder_classifier import load_encoder_classifier
from nlp_transfer.text_task import (
    LabelledTexts,
    ProxyTask,
    TextTask,
    count_longer,
    read_proxy,
    read_task,
)
from nlp_transfer.word_vectors import WordVectors
from nlp_transfer.word_vectors.base import Matrix
from recipes.arguments import parse_arguments, what_was_asked
from recipes.email_urgency_report import Findings, print_findings, write_findings
from staged_training import InputError, Stage, StagedTrainer, StageResult
from staged_training.hub import check_push, push
from staged_training.outcome import Outcome, mean_rows
from staged_training.run_folder import RunFolder
from staged_training.splits import chosen_folds

DATA = Path(__file__).parent / "data" / "email_urgency"

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


@dataclass
class Arguments:
    """What can be asked of the recipe; each field is a flag."""

    data: str | None = field(
        default=None,
        metadata={
            "help": "Labelled texts: a table (.csv, .tsv, .jsonl, .parquet), or a folder with one "
            "sub-folder of .eml files per label. Without a column `fold` they are dealt into five "
            "folds, near-duplicates in the same one. By default the 2,000 texts that come with it."
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
    base: str | None = field(
        default=None,
        metadata={
            "help": "A pretrained encoder in place of the word vectors: `bert` (MiniLM, from a "
            "package), a folder, or a name on the Hub."
        },
    )
    proxy: str | None = field(
        default=None,
        metadata={
            "help": "Texts labelled for a related task, to train on first; `none` for none. By "
            "default those that come with the shipped data."
        },
    )
    proxy_label_column: str = field(
        default="asks_for_action",
        metadata={"help": "Column of the labels of that task; used of --data too, if it is there."},
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
class Way:
    """A way to a model.

    Attributes:
        kind: `control` with a random embedding, `vectors`, `proxy` with a proxy task first, or
            `encoder`.
        name: What it begins with.
        proxy_stages: What is trained on the proxy task first, if anything.
        stages: What is trained then; after each stage the model is a row of the table.
    """

    kind: Literal["control", "vectors", "proxy", "encoder"]
    name: str
    proxy_stages: list[Stage]
    stages: list[Stage]

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
        base: The word vectors, or the name of the encoder.
        ways: The ways to a model that are tried.
    """

    task: TextTask
    proxy: ProxyTask | None
    base: WordVectors | str
    ways: list[Way]

    def what_it_knows(self) -> tuple[str, int]:
        """What the base makes of the texts, in words; and how many of them are too long for it."""
        texts = self.task.all.texts
        if isinstance(self.base, str):
            model, tokenizer = load_encoder_classifier(self.base, self.task.names, seed=0)
            long = count_longer(texts, tokenizer, model.config.window)
            told = f"{long:,} of the texts are longer than the {model.config.window} tokens that "
            told += f"{self.base} reads at once; they are read window by window."
        else:
            tokenizer = build_vocabulary(texts, min_frequency=1)
            told = f"{self.base.title}: {align(tokenizer, self.base).coverage}"
        return told, count_longer(texts, tokenizer, tokenizer.model_max_length)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the recipe.

    Raises:
        InputError: An argument or the data cannot be used; nothing has been written then.
    """
    arguments = parse_arguments(Arguments, argv, "nlp-transfer run email-urgency", __doc__)
    if arguments.seeds < 1:
        raise InputError(f"--seeds is {arguments.seeds}; it takes at least one to train a model.")
    run = RunFolder(Path(arguments.output_dir), what_was_asked(arguments), resume=arguments.resume)
    problem = read_problem(arguments)
    task = problem.task
    folds = chosen_folds(arguments.folds, task.folds)
    seeds = list(range(arguments.seed, arguments.seed + arguments.seeds))
    if arguments.push_to_hub:
        check_push(arguments.push_to_hub)
    knowledge, cut = problem.what_it_knows()
    print(f"{knowledge}\n")

    run.open()
    outcomes = []
    for fold in folds:
        of_fold = baseline_outcomes(*task.parts(fold), task.names, task.positive)
        for seed in seeds:
            for way in problem.ways:
                print(f"Fold {fold}, seed {seed}: {way.name}", flush=True)
                work = partial(evaluate, problem, way, fold, seed)
                done = run.once(f"fold-{fold}/seed-{seed}/{way.name}", work)
                of_fold += [Outcome(**item) for item in done]
        outcomes.append(of_fold)

    rows = mean_rows(outcomes)
    way_of = {row: way for way in problem.ways for row in way.rows()}
    candidates = [r for r in rows if r.name in way_of and way_of[r.name].kind != "control"]
    chosen = max(candidates, key=lambda row: row.metrics["validation_average_precision"]).name
    way = way_of[chosen]
    of_chosen = [item for of_fold in outcomes for item in of_fold if item.model == chosen]
    if arguments.refit:
        print(f"On all {len(task.all.texts):,} texts: {chosen}", flush=True)
        run.once("refit", partial(refit, problem, way, of_chosen, seeds[0]))
        run.keep(run.runs / "refit" / "model")
    else:
        first = run.runs / f"fold-{folds[0]}" / f"seed-{seeds[0]}" / way.name
        run.keep(first / "models" / chosen)
    findings = Findings(
        task=task,
        knowledge=knowledge,
        cut=cut,
        rows=rows,
        rows_of={way.kind: way.rows() for way in problem.ways},
        chosen=of_chosen[0],
        folds=folds,
        seeds=seeds,
        refit=arguments.refit,
        quick=arguments.quick,
        shipped=arguments.data is None,
    )
    write_findings(run, findings, what_was_asked(arguments))
    run.close()
    print_findings(run, findings)
    if arguments.push_to_hub:
        print(f"Uploaded to {push(run.path, arguments.push_to_hub)}")


def read_problem(arguments: Arguments) -> Problem:
    """Read and check what the recipe works on."""
    task = read_task(
        arguments.data or DATA / "messages.parquet",
        arguments.text_columns,
        arguments.label_column,
        arguments.positive_label,
    )
    if arguments.base:
        if arguments.proxy:
            raise InputError("--proxy tunes word vectors; leave it out where --base is given.")
        load_encoder_classifier(arguments.base, task.names, arguments.seed)  # is it there?
        ways = [Way("encoder", Path(arguments.base).name, [], ENCODER_STAGES)]
        return Problem(task, None, arguments.base, _quick(ways) if arguments.quick else ways)
    shipped = "none" if arguments.data else DATA / "proxy.parquet"
    source = arguments.proxy or shipped
    proxy = None
    if source != "none":
        proxy = read_proxy(source, task, arguments.text_columns, arguments.proxy_label_column)
    vectors = open_vectors(arguments.vectors)
    ways = [
        Way("control", "random embedding", [], STAGES),
        Way("vectors", vectors.title, [], STAGES),
    ]
    if proxy:
        ways.append(Way("proxy", f"{vectors.title} + proxy task", PROXY_STAGES, STAGES))
    return Problem(task, proxy, vectors, _quick(ways) if arguments.quick else ways)


def _quick(ways: Sequence[Way]) -> list[Way]:
    """The same with one epoch in each stage."""
    return [way.with_epochs({s.name: 1 for s in way.proxy_stages + way.stages}) for way in ways]


def evaluate(
    problem: Problem, way: Way, fold: int, seed: int, folder: Path
) -> list[dict[str, Any]]:
    """Train on one fold's training part; what came of each stage, as dictionaries."""
    train, validation, test = problem.task.parts(fold)
    rows = problem.task.split(fold).train
    trainer, before = fit(problem, way, train, validation, rows, seed, folder)
    outcomes = stage_outcomes(
        trainer, way.rows(), validation, test, problem.task.positive, folder / "models", before
    )
    return [asdict(item) for item in outcomes]


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
    shift = mean(item.shift for item in outcomes)
    save_classifier(trainer, problem.task.positive, shift, folder / "model")
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
    if isinstance(problem.base, str):
        model, tokenizer = load_encoder_classifier(problem.base, names, seed)
        pretrained, reuse = "backbone", True
    else:
        tokenizer, matrix = embedding(problem, problem.base, way, train, seed)
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
    )
    trainer.train(resume_from_checkpoint=True)
    return trainer, before


def embedding(
    problem: Problem, vectors: WordVectors, way: Way, train: LabelledTexts, seed: int
) -> tuple[PreTrainedTokenizerBase, Matrix]:
    """The task vocabulary, and E_T or for the control random numbers like it."""
    proxy = problem.proxy
    tokenizer = build_vocabulary(train.texts + (proxy.own.texts if proxy else []), min_frequency=1)
    set_seed(seed)
    matrix = align(tokenizer, vectors).matrix
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
    trainer.train(resume_from_checkpoint=True)
    return trainer.results, model.embedding_matrix()


if __name__ == "__main__":
    main()
