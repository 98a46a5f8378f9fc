"""`StagedTrainer`: a `transformers.Trainer` that runs a list of stages, one after the other."""

import copy
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch.utils.data import DataLoader
from transformers import PrinterCallback, TrainingArguments, set_seed
from transformers.integrations import TensorBoardCallback
from transformers.trainer import DEFAULT_PROGRESS_CALLBACK
from transformers.trainer_utils import TrainOutput

from staged_training.adapters import adapters, without_adapters
from staged_training.best_epoch import Labels
from staged_training.checkpoints import epochs_to_stop, newest_checkpoint
from staged_training.features.reuse import first_trained, on_features
from staged_training.freezing import freeze_statistics, train_only
from staged_training.freezing_callbacks import refuse_freezing
from staged_training.layers import layer_groups, select_parameters
from staged_training.layerwise_rates import group_by_layer, layerwise_rates
from staged_training.model_card import model_card
from staged_training.pretrained import pretrained_parameters
from staged_training.progress import StageProgress
from staged_training.run_checks import (
    check_data,
    check_folders,
    check_optimizers,
    check_sets,
    epoch_by_epoch,
)
from staged_training.runtime.errors import InputError
from staged_training.runtime.files import written_whole
from staged_training.runtime.processes import count, on_main_process
from staged_training.stage_folder import StageFolder
from staged_training.stage_search import SearchingTrainer
from staged_training.stages import Stage, StageResult, check_stages, stage_result
from staged_training.streams import CountedStream, check_repeatable

CURVES = "tensorboard"
"""The folder in that of the output which TensorBoard reads."""

STAGES = "_stages"
"""That of checkpoints and finished stages. `Trainer.push_to_hub` leaves out what begins so."""


class Start(NamedTuple):
    """The model before a stage: its score, the labels that it predicted, and its weights."""

    score: float
    seen: Labels
    weights: dict[str, torch.Tensor]


class StagedTrainer(SearchingTrainer):
    """Trains a model in stages; in each, only the layers that the stage selects.

    Each stage has a fresh optimizer and schedule and ends with the weights of its best epoch, by
    `metric_for_best_model` on the evaluation data; of epochs that score the same, that of the
    smallest loss. A stage that only tunes what was trained before ends with the weights it started
    from if no epoch scores better: fine-tuning makes no model worse. Without such data a stage ends
    with its last epoch. A callback that stops training ends the stage at hand, not those after it.
    There is one progress bar and one log over all stages: the entries of `state.log_history` carry
    the name of their stage, and `epoch` and `step` run on.

    After each epoch a checkpoint is written to `args.output_dir`/_stages, so that a run that was
    killed goes on with `train(resume_from_checkpoint=True)` and ends with the weights that it would
    have ended with. `accelerate launch` trains on all devices; a run that was killed may go on with
    another number of processes, from where it was, if `args.accelerator_config` is `ONE_BATCH`.
    Stages that were edited since are refused, not mixed with what they were.

    Its data may come in streams, such as a `datasets.IterableDataset`. For features that are reused
    a stream is read once, and they are trained on in shuffled order. A stage that runs the whole
    model reads it in every epoch, in its own order (`stream.shuffle(seed=0, buffer_size=10_000)`
    changes that), and before the first such stage once more to count its examples.

    Args:
        model: A model with a head on a base, as `layer_groups` finds them; `None` if `model_init`
            makes it.
        args: Training arguments. The number of epochs, the learning rate, and when to evaluate, log
            and save come from the stages; all else holds in every stage. `max_steps` and
            `push_to_hub` are refused. If
            there are several evaluation sets, `metric_for_best_model` says which decides.
        stages: The stages, in order; or a function that gives those of the trial of a search, and
            of `None` those of a run without one. See `hyperparameter_search`.
        pretrained: Selector of the layers that carry pretrained weights; by default the backbone,
            without what was not in the checkpoint.
        allow_joint_training: Let pretrained layers train together with new ones that were not
            tuned before. See `check_stages` for why not to.
        reuse_features: Run the layers below the lowest one that a stage trains over the data once,
            and those above on their features, see `on_features`; a path is a folder to keep the
            features of the bottleneck in.
        **kwargs: All that `transformers.Trainer` takes besides, but for `optimizers`: each stage
            makes one, of the class in `optimizer_cls_and_kwargs` if it is given.

    Raises:
        InputError: The stages cannot be used with this model, see `check_stages`, or with each
            other; the data are empty, or can be read only once; or an argument has no meaning for
            stages, or a callback freezes too.

    Attributes:
        results: A `StageResult` for each stage that is over.

    Examples:
        >>> from staged_training import Stage
        >>> trainer = StagedTrainer(
        ...     model,
        ...     args,
        ...     stages=[
        ...         Stage("head", train="head", epochs=2, learning_rate=1e-3),
        ...         Stage("top layer", train="backbone[-1:], head", epochs=1, learning_rate=1e-4),
        ...     ],
        ...     train_dataset=train, eval_dataset=validation, processing_class=tokenizer,
        ... )
        >>> trainer.train()
        TrainOutput(global_step=9, ...)
        >>> {result.name: result.trained for result in trainer.results}
        {'head': ['head'], 'top layer': ['layers.1', 'head']}
    """

    def __init__(
        self,
        model: torch.nn.Module | None,
        args: TrainingArguments,
        stages: Sequence[Stage] | Callable[[Any], Sequence[Stage]],
        *,
        pretrained: str | None = None,
        allow_joint_training: bool = False,
        reuse_features: bool | str | Path = False,
        **kwargs: Any,
    ) -> None:
        refuse_freezing(*(kwargs.get("callbacks") or []))
        self.stages: list[Stage] = []
        self.results: list[StageResult] = []
        self._stages_of = stages if callable(stages) else None
        self._pretrained, self._allow_joint_training = pretrained, allow_joint_training
        self._reuse_features = reuse_features
        eval_dataset = kwargs.get("eval_dataset")
        self._evaluates = eval_dataset is not None
        train_dataset = kwargs.pop("train_dataset", None)
        stream = train_dataset is not None and not isinstance(train_dataset, Sized)
        check_repeatable(train_dataset)
        check_sets(args, train_dataset, eval_dataset)
        check_optimizers(kwargs)
        if not callable(stages):
            self._take(stages, model)
        kwargs["train_dataset"] = None if stream else train_dataset
        super().__init__(model=model, args=epoch_by_epoch(args, self._evaluates), **kwargs)
        # Losses are means over a batch; else `Trainer` would add those of all processes up.
        self.model_accepts_loss_kwargs = False
        if stream:  # whose length `Trainer` asks for at once, though features may tell it later
            self.train_dataset = train_dataset
        self.remove_callback(PrinterCallback if args.disable_tqdm else DEFAULT_PROGRESS_CALLBACK)
        self._curves = [
            callback
            for callback in self.callback_handler.callbacks
            if isinstance(callback, TensorBoardCallback) and callback.logging_dir is None
        ]
        self._settle_in(self.args.output_dir)
        self._examples: int | None = None  # of a stream
        self._number = 0  # of the stage at hand

    def train(
        self,
        resume_from_checkpoint: str | bool | None = None,
        trial: Any = None,
        ignore_keys_for_eval: list[str] | None = None,
    ) -> TrainOutput:
        """Run the stages.

        Args:
            resume_from_checkpoint: Go on where an earlier run with the same output folder stopped;
                the path of that folder means the same. Where there is nothing to go on from, see
                `begun`, it warns and starts.
            trial: Values that `model_init` and `stages` may ask for, as for `Trainer.train`.
            ignore_keys_for_eval: As for `Trainer.train`.

        Returns:
            The steps of all stages, and the training loss and metrics of the last.

        Raises:
            InputError: The output folder holds a run that was cut off, and it is not to be resumed,
                or one of other stages, and it is; there is nothing to learn from in the data; or
                evaluation does not give `metric_for_best_model`.
        """
        output_dir, model_init = self.args.output_dir, self.model_init
        searches = self.hp_search_backend is not None
        self._begin_trial(trial)
        self._take(self._stages_of(trial) if self._stages_of else self.stages, self.model)
        self._settle_in(self._get_output_dir(trial))
        if resume_from_checkpoint:
            on_main_process(partial(self._folder.check_resumable, resume_from_checkpoint))
        else:
            on_main_process(self._folder.remove if searches else self._folder.start_afresh)
        self.results = []
        log: list[dict[str, Any]] = []
        try:
            self.model_init = cast(Any, None)  # the model goes on from stage to stage
            self.steps_per_epoch = check_data(self)
            with StageProgress(self, self.stages, self.results) as progress:
                for stage in self.stages:
                    self._before = (log[-1]["step"], log[-1]["epoch"]) if log else (0, 0.0)
                    result, stage_log = self._finish_stage(stage, None, ignore_keys_for_eval)
                    self.results.append(result)
                    log += [{**entry, "stage": stage.name} for entry in stage_log]
                    progress.end_stage()
        finally:
            self.args.output_dir, self.model_init = output_dir, model_init
        self.state.log_history = log
        if searches:  # by the model that a trial ends with, not by the last of its epochs
            self.objective: Any = None
        last = next(entry for entry in reversed(log) if "train_loss" in entry)
        return TrainOutput(log[-1]["step"], last["train_loss"], last)

    @property
    def begun(self) -> bool:
        """Whether the output folder holds a run to go on with."""
        return on_main_process(self._folder.holds_work)

    def _take(self, stages: Sequence[Stage], model: torch.nn.Module | None) -> None:
        """Set the stages, and check that they suit the model."""
        if model is not None:
            joint = self._allow_joint_training
            check_stages(model, stages, self._pretrained, allow_joint_training=joint)
        check_folders(stages, self._evaluates)
        self.stages = list(stages)

    def _settle_in(self, output_dir: str | None) -> None:
        """Set the output folder for stages and curves."""
        output = Path(output_dir or ".")
        self._folder = StageFolder(output / STAGES, self.stages)
        for callback in self._curves:
            callback.logging_dir = str(output / CURVES)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log as `Trainer` does, with the stage number; steps and epochs count over all stages."""
        steps, epochs = self._before
        here = self.state.global_step, self.state.epoch
        self.state.global_step, self.state.epoch = steps + here[0], epochs + (here[1] or 0)
        told = {**logs, "stage": 1 + self._number}
        super().log(told, start_time)
        logs["epoch"] = told["epoch"]
        self.state.global_step, self.state.epoch = here

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Return the batches of training data; the examples of a stream are counted before."""
        data = self.train_dataset
        if data is None or isinstance(data, Sized):
            return super().get_train_dataloader()
        if self._examples is None:
            self._examples = on_main_process(lambda: sum(1 for _ in cast(Iterable[Any], data)))
        if not self._examples:
            raise InputError("train_dataset has no examples. Check where its stream reads from.")
        self.train_dataset = CountedStream(cast(Iterable[Any], data), self._examples)
        try:
            return super().get_train_dataloader()
        finally:
            self.train_dataset = data

    def add_callback(self, callback: Any) -> None:
        """Add a callback, as `Trainer` does; refuse one that freezes."""
        refuse_freezing(callback)
        super().add_callback(callback)

    def load_stage(self, name: str) -> None:
        """Restore the model at the end of a finished stage.

        Raises:
            InputError: No stage of that name is finished; the message names those that are.
        """
        self._folder.load(self._folder.finished(name), self.model)

    def create_model_card(self, *args: Any, **options: Any) -> None:
        """Write a card that lists the stages; the arguments are those of `Trainer`."""
        if not self.is_world_process_zero():
            return
        folder = Path(str(self.args.output_dir))
        card = model_card(folder.name, self.results, *args, **options)
        with written_whole(folder / "README.md") as path:
            path.write_text(card, encoding="utf-8")

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        """Create the optimizer of the current stage, with a rate for each layer group."""
        optimizer = super().create_optimizer(model)
        layer_decay = self.stages[self._number].layer_decay
        if layer_decay != 1:
            rates = layerwise_rates(self.model, self.args.learning_rate, layer_decay)
            group_by_layer(optimizer, self.model, rates)
        return optimizer

    def _finish_stage(
        self, stage: Stage, *train_arguments: Any
    ) -> tuple[StageResult, list[dict[str, Any]]]:
        """Train or load a stage; return its result and log."""
        folder = self._folder
        if on_main_process(partial(folder.is_finished, stage)):
            return folder.load(stage, self.model)
        on_main_process(partial(folder.begin, stage))
        tunes, seed = self._tunes_only(stage), self.args.seed + self.stages.index(stage)
        with adapters(self.model, stage.train, seed):
            result = self._run_stage(stage, tunes, *train_arguments)
        on_main_process(partial(folder.keep, stage, self.model, result, self.state.log_history))
        return result, self.state.log_history

    def _run_stage(self, stage: Stage, tunes: bool, *train_arguments: Any) -> StageResult:
        """Train one stage, from its newest checkpoint if there is one, and keep its best epoch."""
        start = time.perf_counter()
        checkpoint = on_main_process(partial(newest_checkpoint, self._folder.of(stage)))
        self._prepare(stage, checkpoint)
        with self._on_features(), self._same_problem_type():
            before = self._score_before(tunes)
            # The same randomness in a stage, whether or not those before it ran in this process.
            set_seed(self.args.seed + self._number)
            super().train(str(checkpoint) if checkpoint else None, *train_arguments)
        best_step, best_score = self._keep_better(before)
        if self._evaluates:
            self.warn_of_single_label(stage.name)
        return stage_result(
            self.model,
            stage,
            epochs=self.epoch_of(self.state.global_step),
            best_epoch=self.epoch_of(best_step),
            best_score=best_score,
            seconds=time.perf_counter() - start,
        )

    def _prepare(self, stage: Stage, checkpoint: Path | None) -> None:
        """Set the arguments and the optimizer of a stage, and freeze what it does not train."""
        self._number, self.patience = self.stages.index(stage), stage.patience
        self.seen = self.kept = Labels(set(), set())
        stopped = epochs_to_stop(checkpoint) if checkpoint else None
        self.args.output_dir = str(self._folder.of(stage))
        self.args.learning_rate = stage.learning_rate
        self.args.num_train_epochs = stage.epochs if stopped is None else stopped
        train_only(self.model, stage.train)
        if stage.keep_statistics:
            freeze_statistics(self.model)
        self.optimizer = self.lr_scheduler = None
        if self.optimizer_cls_and_kwargs:
            kind, settings = self.optimizer_cls_and_kwargs
            self.optimizer_cls_and_kwargs = kind, {**settings, "lr": stage.learning_rate}
        self.model_wrapped = self.model  # what is distributed are the parameters now trained

    def _score_before(self, tunes: bool) -> Start | None:
        """Score the model before a stage that only tunes it, which may make it worse."""
        start = None
        if self._evaluates and tunes:
            self.state.global_step, self.state.epoch = 0, 0.0
            weights = copy.deepcopy(self.model.state_dict())
            score = self.score_of(self.evaluate())
            start = None if math.isnan(score) else Start(score, self.seen, weights)
        if count() > 1:  # else processes would not share gradients: accelerate takes the model
            vars(self.model).pop("_is_accelerate_prepared", None)  # for wrapped if evaluated
        return start

    def _keep_better(self, start: Start | None) -> tuple[int, float | None]:
        """Go back to the model before the stage if no epoch was better; return step and score."""
        best_score = self.state.best_metric
        if start is None or self.scores_better(best_score, start.score):
            return self.state.best_global_step or self.state.global_step, best_score
        self.model.load_state_dict(start.weights)
        self.kept = start.seen
        return 0, start.score

    @contextmanager
    def _same_problem_type(self) -> Iterator[None]:
        """Undo that a loss infers the type of problem: a stage that is loaded would lack it."""
        config: Any = getattr(self.model, "config", None)
        before = getattr(config, "problem_type", None)
        yield
        if before != getattr(config, "problem_type", None):
            config.problem_type = before

    def _tunes_only(self, stage: Stage) -> bool:
        """Return whether a stage trains only what is pretrained or trained by stages before it."""
        before = self.stages[: self.stages.index(stage)]
        known = pretrained_parameters(self.model, self._pretrained)
        *earlier, own = (
            set(select_parameters(self.model, without_adapters(other.train)))
            for other in [*before, stage]
        )
        return known.union(*earlier) >= own

    def _on_features(self) -> AbstractContextManager[None]:
        """Train the upper layers on features within, where they are reused and lower layers frozen.

        Only the features of the bottleneck are worth keeping on disk.
        """
        first = first_trained(self.model)
        if not first or not self._reuse_features:
            return nullcontext()
        trains_head_alone = first == len(layer_groups(self.model)) - 1
        folder = self._reuse_features
        cache = None if isinstance(folder, bool) else Path(folder)
        return on_features(self, cache if trains_head_alone else None)
