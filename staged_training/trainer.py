"""`StagedTrainer`: a `transformers.Trainer` that runs a list of stages, one after the other."""

import copy
import json
import shutil
import time
from collections.abc import Iterable, Sequence, Sized
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from huggingface_hub import ModelCardData
from safetensors.torch import load_model, save_model
from torch.utils.data import DataLoader
from transformers import EarlyStoppingCallback, PrinterCallback, TrainingArguments, set_seed
from transformers.integrations import TensorBoardCallback
from transformers.trainer import DEFAULT_PROGRESS_CALLBACK
from transformers.trainer_utils import IntervalStrategy, SaveStrategy, TrainOutput

from staged_training.checkpoints import CheckpointingTrainer, epochs_to_patience, newest_checkpoint
from staged_training.errors import InputError
from staged_training.feature_reuse import first_trained, on_features
from staged_training.files import written_whole
from staged_training.freezing import freeze_statistics, train_only
from staged_training.freezing_callbacks import refuse_freezing
from staged_training.layers import layer_groups, select_parameters
from staged_training.layerwise_rates import group_by_layer, layerwise_rates
from staged_training.pretrained import pretrained_parameters
from staged_training.processes import by_first
from staged_training.progress import StageProgress
from staged_training.report import FROZEN, stage_table
from staged_training.stages import Stage, StageResult, check_stages
from staged_training.streams import CountedStream, check_repeatable

CURVES = "tensorboard"
"""The folder in that of the output which TensorBoard reads."""

STAGES = "_stages"
"""That of checkpoints and finished stages. `Trainer.push_to_hub` leaves out what begins so."""


class StagedTrainer(CheckpointingTrainer):
    """Trains a model in stages; in each, only the layers that the stage selects.

    Each stage has a fresh optimizer and schedule and ends with the weights of its best epoch, by
    `metric_for_best_model` on the evaluation data. A stage that only tunes what was trained before
    ends with the weights it started from if no epoch is better: fine-tuning makes no model worse.
    Without such data a stage ends with its last epoch.
    There is one progress bar and one log over all stages: the entries of `state.log_history` carry
    the name of their stage, and `epoch` and `step` run on.

    After each epoch a checkpoint is written to `args.output_dir`/_stages, so that a run that was
    killed goes on with `train(resume_from_checkpoint=True)` and ends with the weights that it would
    have ended with. `accelerate launch` trains on all devices; a run that was killed may go on with
    another number of processes, from where it was, if `args.accelerator_config` is `ONE_BATCH`.

    Its data may come in streams, such as a `datasets.IterableDataset`. For features that are reused
    a stream is read once, and they are trained on in shuffled order. A stage that runs the whole
    model reads it in every epoch, in its own order (`stream.shuffle(seed=0, buffer_size=10_000)`
    changes that), and before the first such stage once more to count its examples.

    Args:
        model: A model with a head on a base, as `layer_groups` finds them.
        args: Training arguments. The number of epochs, the learning rate, and when to evaluate, log
            and save come from the stages; all else holds in every stage.
        stages: The stages, in order.
        pretrained: Selector of the layers that carry pretrained weights; by default the backbone,
            without what was not in the checkpoint.
        allow_joint_training: Let pretrained layers train together with new ones that were not
            tuned before. See `check_stages` for why not to.
        reuse_features: Run the layers below the lowest one that a stage trains over the data once,
            and those above on their features, see `on_features`; a path is a folder to keep the
            features of the bottleneck in.
        **kwargs: All that `transformers.Trainer` takes besides.

    Raises:
        InputError: The stages cannot be used with this model, see `check_stages`, the training data
            can be read only once, or a callback freezes too.

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

    model: torch.nn.Module

    def __init__(
        self,
        model: torch.nn.Module,
        args: TrainingArguments,
        stages: Sequence[Stage],
        *,
        pretrained: str | None = None,
        allow_joint_training: bool = False,
        reuse_features: bool | Path = False,
        **kwargs: Any,
    ) -> None:
        check_stages(model, stages, pretrained, allow_joint_training=allow_joint_training)
        refuse_freezing(*(kwargs.get("callbacks") or []))
        self.stages = list(stages)
        self.results: list[StageResult] = []
        self._stage = self.stages[0]
        self._pretrained = pretrained
        self._reuse_features = reuse_features
        evaluates = kwargs.get("eval_dataset") is not None
        train_dataset = kwargs.pop("train_dataset", None)
        stream = train_dataset is not None and not isinstance(train_dataset, Sized)
        check_repeatable(train_dataset)
        kwargs["train_dataset"] = None if stream else train_dataset
        super().__init__(model=model, args=_epoch_by_epoch(args, evaluates), **kwargs)
        # Losses are means over a batch; else `Trainer` would add those of all processes up.
        self.model_accepts_loss_kwargs = False
        if stream:  # whose length `Trainer` asks for at once, though features may tell it later
            self.train_dataset = train_dataset
        self.remove_callback(PrinterCallback if args.disable_tqdm else DEFAULT_PROGRESS_CALLBACK)
        for callback in self.callback_handler.callbacks:
            if isinstance(callback, TensorBoardCallback) and callback.logging_dir is None:
                callback.logging_dir = str(Path(self.args.output_dir or ".") / CURVES)
        self._folder = Path(self.args.output_dir or ".") / STAGES
        self._examples: int | None = None  # of a stream
        self._before: tuple[int, float] = 0, 0.0  # steps and epochs of the stages that are over
        self._whole = self.model  # also while a part of it trains on features

    def train(
        self,
        resume_from_checkpoint: str | bool | None = None,
        trial: Any = None,
        ignore_keys_for_eval: list[str] | None = None,
    ) -> TrainOutput:
        """Run the stages.

        Args:
            resume_from_checkpoint: Go on where an earlier run with the same output folder stopped.
            trial: As for `Trainer.train`.
            ignore_keys_for_eval: As for `Trainer.train`.

        Returns:
            The steps of all stages, and the training loss and metrics of the last.

        Raises:
            InputError: The output folder holds a run that was cut off, and it is not to be resumed.
        """
        if not resume_from_checkpoint:
            by_first(self._start_afresh)
        output_dir = self.args.output_dir
        self.results = []
        log: list[dict[str, Any]] = []
        with StageProgress(self, self.stages, self.results) as progress:
            for stage in self.stages:
                self._before = (log[-1]["step"], log[-1]["epoch"]) if log else (0, 0.0)
                result, stage_log = self._finish_stage(stage, trial, ignore_keys_for_eval)
                self.results.append(result)
                log += [{**entry, "stage": stage.name} for entry in stage_log]
                progress.end_stage()
        self.args.output_dir = output_dir
        self.state.log_history = log
        return TrainOutput(log[-1]["step"], log[-1]["train_loss"], log[-1])

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log as `Trainer` does; steps and epochs run on, and the number of the stage is told."""
        steps, epochs = self._before
        here = self.state.global_step, self.state.epoch
        self.state.global_step, self.state.epoch = steps + here[0], epochs + (here[1] or 0)
        told = {**logs, "stage": 1 + self.stages.index(self._stage)}
        super().log(told, start_time)
        logs["epoch"] = told["epoch"]
        self.state.global_step, self.state.epoch = here

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The batches of training data; of a stream the examples are counted before."""
        data = self.train_dataset
        if data is None or isinstance(data, Sized):
            return super().get_train_dataloader()
        if self._examples is None:
            self._examples = by_first(lambda: sum(1 for _ in cast(Iterable[Any], data)))
        if not self._examples:
            raise InputError("train_dataset has no example. Check where its stream reads from.")
        self.train_dataset = CountedStream(cast(Iterable[Any], data), self._examples)
        try:
            return super().get_train_dataloader()
        finally:
            self.train_dataset = data

    def add_callback(self, callback: Any) -> None:
        """Add a callback, as `Trainer` does; one that freezes is refused."""
        refuse_freezing(callback)
        super().add_callback(callback)

    def load_stage(self, name: str) -> None:
        """Set the model to what it was at the end of a stage that is finished."""
        (stage,) = (stage for stage in self.stages if stage.name == name)
        self._load_weights(self._finished_folder(stage))

    def _load_weights(self, finished: Path) -> None:
        load_model(self.model, finished / "model.safetensors")

    def create_model_card(
        self,
        language: str | None = None,
        license: str | None = None,
        tags: str | list[str] | None = None,
        model_name: str | None = None,
        finetuned_from: str | None = None,
        tasks: str | list[str] | None = None,
        dataset_tags: str | list[str] | None = None,
        dataset: str | list[str] | None = None,
        dataset_args: str | list[str] | None = None,
    ) -> None:
        """Write a model card that tells the stages, which that of `Trainer` does not know of.

        Args:
            language: As for `Trainer.create_model_card`; so are all that follow.
            license: Of the model.
            tags: Further tags.
            model_name: Its title.
            finetuned_from: The name of its base on the Hub.
            tasks: The `pipeline` that runs it.
            dataset_tags: Names on the Hub of the data that it was trained on.
            dataset: What people call these data.
            dataset_args: Not used.
        """
        if not self.is_world_process_zero():
            return
        trained_on = [dataset] if isinstance(dataset, str) else dataset or []
        on = f" on {', '.join(trained_on)}" if trained_on else ""
        data = ModelCardData(
            base_model=finetuned_from,
            datasets=dataset_tags,
            language=language,
            library_name="transformers",
            license=license,
            pipeline_tag=cast(Any, tasks),
            tags=["nlp-transfer", *([tags] if isinstance(tags, str) else tags or [])],
        )
        sections = [
            f"---\n{data.to_yaml()}\n---",
            f"# {model_name or Path(str(self.args.output_dir)).name}",
            f"Trained in stages{on}, by NLP Transfer.",
            stage_table(self.results),
            FROZEN,
        ]
        card = "\n\n".join(sections) + "\n"
        with written_whole(Path(str(self.args.output_dir), "README.md")) as path:
            path.write_text(card, encoding="utf-8")

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        """The optimizer of the stage at hand, with a rate for each layer group."""
        optimizer = super().create_optimizer(model)
        if self._stage.layer_decay != 1:
            rates = layerwise_rates(self._whole, self.args.learning_rate, self._stage.layer_decay)
            group_by_layer(optimizer, self._whole, rates)
        return optimizer

    def _start_afresh(self) -> None:
        """Remove what an earlier, complete run left; refuse to remove what can be resumed."""
        if not self._folder.exists():
            return
        if not self._finished_folder(self.stages[-1]).exists():
            raise InputError(
                f"{self._folder} holds a run that was cut off. Go on with it by "
                "train(resume_from_checkpoint=True), or delete that folder."
            )
        shutil.rmtree(self._folder)

    def _finished_folder(self, stage: Stage) -> Path:
        return self._folder / stage.name.replace(" ", "-") / "finished"

    def _finish_stage(
        self, stage: Stage, *train_arguments: Any
    ) -> tuple[StageResult, list[dict[str, Any]]]:
        """Bring the model to the end of a stage, by training or from disk; its result and log."""
        finished = self._finished_folder(stage)
        if not by_first(finished.exists):
            result = self._run_stage(stage, finished.parent, *train_arguments)
            by_first(partial(self._keep_stage, result, finished))
            return result, self.state.log_history
        self._load_weights(finished)
        record = json.loads((finished / "stage.json").read_text())
        return StageResult(**record["result"]), record["log"]

    def _keep_stage(self, result: StageResult, finished: Path) -> None:
        with written_whole(finished) as folder:
            folder.mkdir()
            save_model(self.model, str(folder / "model.safetensors"))
            record = {"result": asdict(result), "log": self.state.log_history}
            (folder / "stage.json").write_text(json.dumps(record))
        for checkpoint in finished.parent.glob("checkpoint-*"):
            shutil.rmtree(checkpoint)

    def _run_stage(self, stage: Stage, folder: Path, *train_arguments: Any) -> StageResult:
        """Train one stage, from its newest checkpoint if there is one, and keep its best epoch."""
        start = time.perf_counter()
        checkpoint = by_first(partial(newest_checkpoint, folder))
        self._stage = stage
        self.args.output_dir = str(folder)
        self.args.learning_rate = stage.learning_rate
        patience_over = epochs_to_patience(checkpoint) if checkpoint else None
        self.args.num_train_epochs = patience_over or stage.epochs
        train_only(self.model, stage.train)
        if stage.keep_statistics:
            freeze_statistics(self.model)
        self.optimizer = self.lr_scheduler = None
        self.model_wrapped = self.model  # what is distributed are the parameters now trained
        evaluates = self.args.load_best_model_at_end
        start_score, start_weights = None, copy.deepcopy(self.model.state_dict())
        config: Any = getattr(self.model, "config", None)
        problem_type = getattr(config, "problem_type", None)
        with self._on_features():
            if evaluates and self._tunes_only(stage):
                self.state.global_step, self.state.epoch = 0, 0.0
                start_score = self._best_score(self.evaluate())
            if stage.patience and evaluates:
                self.add_callback(EarlyStoppingCallback(stage.patience))
            # The same randomness in a stage, whether or not those before it ran in this process.
            set_seed(self.args.seed + self.stages.index(stage))
            super().train(str(checkpoint) if checkpoint else None, *train_arguments)
        self.remove_callback(EarlyStoppingCallback)
        # the loss inferred it: a stage that is loaded lacks it
        if problem_type != getattr(config, "problem_type", None):
            config.problem_type = problem_type
        best_step = self.state.best_global_step or self.state.global_step
        best_score = self.state.best_metric
        if start_score is not None and best_score is not None:
            sign = 1 if self.args.greater_is_better else -1
            if sign * best_score <= sign * start_score:
                self.model.load_state_dict(start_weights)
                best_step, best_score = 0, start_score

        groups = layer_groups(self.model)
        trained = [g.name for g in groups if any(p.requires_grad for p in g.parameters.values())]
        epochs = round(self.state.epoch or 0)
        steps_per_epoch = self.state.global_step // epochs
        return StageResult(
            name=stage.name,
            epochs=epochs,
            best_epoch=best_step // steps_per_epoch,
            best_score=best_score,
            trainable_parameters=sum(p.numel() for p in self.model.parameters() if p.requires_grad),
            trained=trained,
            frozen=[group.name for group in groups if group.name not in trained],
            seconds=time.perf_counter() - start,
        )

    def _tunes_only(self, stage: Stage) -> bool:
        """Whether all that a stage trains is pretrained, or was trained in a stage before it."""
        before = self.stages[: self.stages.index(stage)]
        known = pretrained_parameters(self._whole, self._pretrained)
        trained = known.union(*(select_parameters(self._whole, other.train) for other in before))
        return trained >= set(select_parameters(self._whole, stage.train))

    def _best_score(self, metrics: dict[str, float]) -> float:
        """The score by which epochs are compared."""
        return metrics[f"eval_{str(self.args.metric_for_best_model).removeprefix('eval_')}"]

    def _on_features(self) -> AbstractContextManager[None]:
        """Where features are to be reused and lower layers are frozen: let the upper train on them.

        Only the features of the bottleneck are worth keeping on disk.
        """
        first = first_trained(self.model)
        if not first or not self._reuse_features:
            return nullcontext()
        trains_head_alone = first == len(layer_groups(self.model)) - 1
        cache = self._reuse_features if isinstance(self._reuse_features, Path) else None
        return on_features(self, cache if trains_head_alone else None)


def _epoch_by_epoch(args: TrainingArguments, evaluates: bool) -> TrainingArguments:
    """The arguments with what stages need: a log, an evaluation and a checkpoint per epoch."""
    args = copy.copy(args)
    args.logging_strategy = IntervalStrategy.EPOCH
    args.save_strategy = SaveStrategy.EPOCH
    args.save_total_limit = 2  # the best, the newest; of 1 `Trainer` removes the newest in the end
    args.restore_callback_states_from_checkpoint = True  # how much patience is left
    if evaluates:
        args.eval_strategy = IntervalStrategy.EPOCH
        args.load_best_model_at_end = True
        args.metric_for_best_model = args.metric_for_best_model or "loss"
        if args.greater_is_better is None:
            args.greater_is_better = not args.metric_for_best_model.endswith("loss")
    return args
