"""Cross-validation: candidates are trained and scored on each fold, validation chooses one."""

import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from staged_training.experiment.candidate import MODELS, REFIT_UP_TO, Candidate, Round
from staged_training.experiment.loss import mean_loss
from staged_training.experiment.outcome import Outcome, Row, mean_rows, outcome
from staged_training.experiment.parallel import (
    gains_from_parallel,
    run_parallel,
    run_serial,
)
from staged_training.experiment.run_folder import RunFolder
from staged_training.experiment.splits import Indices
from staged_training.experiment.task import LabelledTask, Task
from staged_training.experiment.verdict import (
    FEWEST,
    INTERVAL,
    Difference,
    describe_differences,
    drawn_scores,
)
from staged_training.runtime.errors import InputError
from staged_training.runtime.processes import on_main_process

SCORES_TELL = 100
"""From how many examples to validate on models are chosen by their scores, not by their loss.

Of fewer, scores are chance: with 20 of 100 Reuters texts to validate on, a head of macro-F1 0.49
there had 0.79 on test, where one of 0.58 had 0.32. The loss told them apart.
"""


@dataclass(frozen=True)
class CrossValidation:
    """The results of the candidates.

    Attributes:
        task: What they were measured on.
        candidates: The candidates that validation chose among.
        outcomes: For each fold, the outcomes of baselines and candidates, of every seed.
        folds: The folds that were tested on.
        seeds: The random seeds.
        metric: The score on validation by which a model is chosen.
        controls: Candidates that were measured beside the others, and never chosen.
    """

    task: Task
    candidates: Sequence[Candidate]
    outcomes: list[list[Outcome]]
    folds: Sequence[int]
    seeds: Sequence[int]
    metric: str
    controls: Sequence[Candidate] = ()
    _folders: Mapping[str, Path] = field(default_factory=dict)

    @cached_property
    def rows(self) -> list[Row]:
        """The table of models: a row for each, with its means over folds and seeds."""
        return mean_rows(self.outcomes)

    def best_of(self, *candidates: Candidate) -> Row:
        """Return the row of some candidates that is best on validation.

        That is the one of the best score or, where few examples validate, of the least loss. Where
        there are few rows, one that is trained on all of them afterwards comes first, unless it is
        seen to score less.
        """
        names = {name for candidate in candidates for name in candidate.row_names()}
        rows = [row for row in self.rows if row.name in names]
        best = self._first(rows)
        if len(self.task.folds) > REFIT_UP_TO or self._refits(best):
            return best
        refitted = [row for row in rows if self._refits(row)]
        if isinstance(self.task, LabelledTask) and not self._by_loss:
            refitted = [row for row in refitted if not self.difference(best, row).is_seen]
        return self._first(refitted or [best])

    def _first(self, rows: Sequence[Row]) -> Row:
        """Return the row of the best score on validation, or of the least loss."""
        if len(rows) > 1 and self._by_loss:
            return min(rows, key=self._loss)
        return max(rows, key=lambda row: row.metrics[f"validation_{self.metric}"])

    @property
    def _by_loss(self) -> bool:
        """Whether too few examples validate for their scores to tell models apart."""
        return isinstance(self.task, LabelledTask) and self._validated < SCORES_TELL

    @cached_property
    def chosen(self) -> Row:
        """The row that validation chose."""
        return self.best_of(*self.candidates)

    @property
    def chosen_candidate(self) -> Candidate:
        """The candidate that the chosen row is of."""
        return self._candidate_of(self.chosen)

    def _candidate_of(self, row: Row) -> Candidate:
        everyone = [*self.candidates, *self.controls]
        return next(candidate for candidate in everyone if row.name in candidate.row_names())

    @property
    def refits(self) -> bool:
        """Whether the chosen model is trained on all rows by default; see `Candidate.refits`."""
        return self._refits(self.chosen)

    def _refits(self, row: Row) -> bool:
        return self._candidate_of(row).refits(row.name, len(self.task.folds))

    def _loss(self, row: Row) -> float:
        """Return the mean loss of a row on validation."""
        assert isinstance(self.task, LabelledTask)
        parts = [self.task.split(fold).validation for fold in self.folds]
        losses = [
            mean_loss(self.task.target, self.task.values[part], found.validation_probabilities)
            for part, of_fold in zip(parts, self.outcomes, strict=True)
            for found in of_fold
            if found.model == row.name
        ]
        return float(np.mean(losses))

    @property
    def _validated(self) -> int:
        """How many examples validation chooses by."""
        return sum(len(self.task.split(fold).validation) for fold in self.folds)

    @property
    def chosen_outcomes(self) -> list[Outcome]:
        """The outcomes of the chosen model, by fold and seed."""
        return [o for of_fold in self.outcomes for o in of_fold if o.model == self.chosen.name]

    @property
    def chosen_model(self) -> Path:
        """The folder of the chosen model, as it was trained on the first fold and seed."""
        return self._folders[self.chosen_candidate.name] / MODELS / self.chosen.name

    @cached_property
    def _drawn(self) -> Mapping[str, NDArray[np.float64]]:
        assert isinstance(self.task, LabelledTask)
        return drawn_scores(self.task, self.outcomes, self.folds, self.metric)

    def difference(self, row: Row, other: Row) -> Difference:
        """Return how much more one row scores than another on validation."""
        metric = f"validation_{self.metric}"
        deviation = float(np.std(self._drawn[row.name] - self._drawn[other.name], ddof=1))
        return Difference(row.metrics[metric] - other.metrics[metric], INTERVAL * deviation)

    def describe_gain(self, what: str, new: Candidate, old: Candidate) -> str:
        """Describe whether something paid on validation.

        Args:
            what: What it is.
            new: The candidate with it.
            old: That without it.
        """
        with_it, without = self.best_of(new), self.best_of(old)
        found = self.difference(with_it, without)
        if not found.is_seen:
            return f"{what}: no difference to be seen on validation ({found})."
        return f"{what} {'paid' if found.mean > 0 else 'cost'} on validation ({found})."

    def describe_choice(self) -> str:
        """Describe which row validation chose, and how it compares with all others.

        The rows come in the order from simple to complex.
        """
        chosen = self.chosen
        told = f"Validation chose **{chosen.name}** ({self.describe_scores(chosen)})."
        if not isinstance(self.task, LabelledTask):
            return told
        if self._by_loss:
            few = f"{self._validated} examples to validate on are too few to choose by scores"
            rows = [row for c in self.candidates for row in self.rows if row.name in c.row_names()]
            losses = ", ".join(f"{row.name} {self._loss(row):.3f}" for row in rows)
            told = f"{told} It has the least loss: {few}. Their losses there: {losses}."
        if self._validated < FEWEST:
            return told
        controls = {name for control in self.controls for name in control.row_names()}
        differences = {n: found for n, found in self.differences().items() if n not in controls}
        verdict = describe_differences(
            differences, chosen.name, self.task.target.floor, by_score=not self._by_loss
        )
        return f"{told} {verdict}"

    def differences(self) -> dict[str, Difference]:
        """Return how much more the chosen row scores on validation than each row, by its name."""
        rows = (row for row in self.rows if not row.undone or row is self.chosen)
        return {row.name: self.difference(self.chosen, row) for row in rows}

    def first_outcome(self, fold: int) -> Outcome:
        """Return the outcome of the chosen model on a fold; of several seeds the first counts."""
        of_fold = self.outcomes[list(self.folds).index(fold)]
        return next(outcome for outcome in of_fold if outcome.model == self.chosen.name)

    def pooled(self) -> tuple[Indices, NDArray[np.float64]]:
        """Return the rows of all test parts, and what the chosen model predicted of each.

        Of several seeds the first counts. `[rows]` and `[rows, outputs]`.
        """
        rows = np.concatenate([self.task.split(fold).test for fold in self.folds])
        found = [self.first_outcome(fold).probabilities for fold in self.folds]
        return rows, np.concatenate(found)

    def pooled_validation(self) -> tuple[Indices, NDArray[np.float64]]:
        """Return the same of all validation parts, in the order of the folds."""
        rows = np.concatenate([self.task.split(fold).validation for fold in self.folds])
        found = [self.first_outcome(fold).validation_probabilities for fold in self.folds]
        return rows, np.concatenate(found)

    def describe_scores(self, row: Row) -> str:
        """Describe the scores of a row on validation and on test."""
        name, metrics = self.metric.replace("_", " "), row.metrics
        if isinstance(self.task, LabelledTask):
            name = self.task.target.titles[self.metric]
        validation, test = metrics[f"validation_{self.metric}"], metrics[self.metric]
        return f"{name} {validation:.3f} on validation, {test:.3f} on test"

    def final_model(self, run: RunFolder, refit: bool | None) -> tuple[Path, bool]:
        """Return the folder of the model to publish, and whether it was trained on all rows.

        Args:
            run: Where what is done is kept.
            refit: Whether to train the chosen model on all rows; `None` for what `refits` says.
        """
        if refit is None:
            refit = self.refits
        return (self.refit(run), True) if refit else (self.chosen_model, False)

    def refit(self, run: RunFolder) -> Path:
        """Train the chosen candidate on all rows; return the folder of the model.

        See `Candidate.refit`.
        """
        candidate = self.chosen_candidate
        rows = np.arange(len(self.task.folds))
        print(f"Training {self.chosen.name} once more, on all {len(rows):,} rows", flush=True)
        work = partial(candidate.refit, rows, self.chosen_outcomes, self.seeds[0])
        run.run_cached("refit", work)
        return run.runs / "refit" / "model"


def cross_validate(
    run: RunFolder,
    task: Task,
    candidates: Sequence[Candidate],
    metric: str,
    folds: Sequence[int],
    seeds: Sequence[int] = (0,),
    baselines: Callable[[Round], list[Outcome]] = lambda _: [],
    *,
    controls: Sequence[Candidate] = (),
    draw: Callable[[Round], Round] = lambda round_: round_,
    prefix: str = "",
    scores_only: bool = False,
    parallel: bool = False,
) -> CrossValidation:
    """Train and score candidates on each fold, with every seed.

    Args:
        run: Where what is done is kept, to go on after an interruption.
        task: What they learn from and are measured on.
        candidates: The candidates; validation chooses among them.
        metric: By which score.
        folds: The folds to test on.
        seeds: Random seeds.
        baselines: What a candidate has to beat, scored in each round of the first seed; a
            prediction that looks at no example is among them, where the task has labels or numbers.
        controls: Candidates that are measured beside the others, and never chosen.
        draw: Draws fewer rows to train on.
        prefix: Of the names of the pieces of work.
        scores_only: Whether no model is kept.
        parallel: Whether the candidates are small, so that without an accelerator each had better
            be trained on a core of its own, beside the others. Each shows no progress then.

    Raises:
        InputError: A name cannot be that of a folder, or several candidates share it.

    Examples:
        >>> from staged_training import RunFolder, Task, cross_validate
        >>> from staged_training.experiment.candidate import Candidate
        >>> from staged_training.experiment.outcome import Outcome
        >>> class Constant(Candidate):  # most train something: see `ClassifierCandidate`
        ...     name = "constant"
        ...     def row_names(self):
        ...         return ["constant"]
        ...     def evaluate(self, round_, folder):
        ...         return [Outcome("constant", {"accuracy": 0.5}, {"accuracy": 0.6}, [], [], 0.1)]
        >>> run = RunFolder("run")
        >>> run.open()
        >>> task = Task(folds=np.array([0, 1, 2]))
        >>> result = cross_validate(run, task, [Constant()], "accuracy", folds=[0, 1, 2])
        Fold 0, seed 0: constant
        Fold 1, seed 0: constant
        Fold 2, seed 0: constant
        >>> result.chosen.metrics
        {'accuracy': 0.5, 'validation_accuracy': 0.6}
    """
    rounds = {(f, s): draw(Round(f, s, task.split(f))) for f in folds for s in seeds}
    everyone = [*controls, *candidates]
    _check_names(everyone)
    for candidate in everyone:
        candidate.prepare()
    names, pieces = [], {}
    for (fold, seed), round_ in rounds.items():
        keep = not scores_only and (fold, seed) == (folds[0], seeds[0])
        for candidate in everyone:
            names.append(f"{prefix}fold-{fold}/seed-{seed}/{candidate.name}")
            work = partial(run.run_cached, names[-1], partial(_evaluate, candidate, round_, keep))
            pieces[f"{prefix}Fold {fold}, seed {seed}: {candidate.name}"] = work
    if parallel and len(pieces) > 1 and gains_from_parallel():
        turned = dict(reversed(pieces.items()))  # what takes longest begins first
        results = reversed(run_parallel(turned, f"{prefix}models"))
    else:
        results = iter(run_serial(pieces))
    outcomes = []
    for fold in folds:
        of_fold = [*_floor(task, rounds[fold, seeds[0]]), *baselines(rounds[fold, seeds[0]])]
        for found in islice(results, len(seeds) * len(everyone)):
            of_fold += [Outcome(**outcome) for outcome in found]
        outcomes.append(of_fold)
    of_first = zip(everyone, names, strict=False)
    folders = {candidate.name: run.runs / name for candidate, name in of_first}
    return CrossValidation(task, candidates, outcomes, folds, seeds, metric, controls, folders)


def _floor(task: Task, round_: Round) -> list[Outcome]:
    """Score what looks at no example: the majority class, frequencies of labels, or the mean."""
    if not isinstance(task, LabelledTask):
        return []
    target, (train, *parts) = task.target, (task.values[rows] for rows in round_.split)
    logits = [target.floor_logits(train, len(part)) for part in parts]
    return [outcome(target.floor, parts, logits, target, seconds=0.0)]


def _check_names(candidates: Sequence[Candidate]) -> None:
    """Refuse names that cannot be folders, or that several candidates or models share."""
    rows = [name for candidate in candidates for name in candidate.row_names()]
    for names in ([candidate.name for candidate in candidates], rows):
        for name, count in Counter(names).items():
            if count > 1 or not name.strip(". ") or set(name) & {"/", "\0"}:
                why = f"{count} candidates share it" if count > 1 else "it cannot name a folder"
                raise InputError(f"A candidate is called {name!r}, but {why}. Choose another name.")


def _evaluate(
    candidate: Candidate, round_: Round, keep: bool, folder: Path
) -> list[dict[str, Any]]:
    """Evaluate a candidate; without `keep`, delete its models, as many would fill a disk."""
    outcomes = candidate.evaluate(round_, folder)
    if not keep:
        on_main_process(partial(shutil.rmtree, folder / MODELS, ignore_errors=True))
    return [asdict(outcome) for outcome in outcomes]
