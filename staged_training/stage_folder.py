"""What a run in stages keeps on disk: checkpoints of a stage, then its weights and its log."""

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn

from staged_training.checkpoints import newest_checkpoint
from staged_training.experiment.fingerprints import digest
from staged_training.runtime.errors import InputError
from staged_training.runtime.files import damaged, read_json, written_whole
from staged_training.stages import Stage, StageResult

logger = logging.getLogger(__name__)

_ASKED = "asked.json"
_WEIGHTS = "model.safetensors"


class StageFolder:
    """The folder of a run, with a folder for each of its stages.

    Beside its checkpoints, and later its weights, stands what a stage was asked: it goes on, and is
    taken from disk, only if that and all that came before it are the same.

    Args:
        path: Where it is, or will be.
        stages: The stages of the run, in order.
    """

    def __init__(self, path: Path, stages: Sequence[Stage]) -> None:
        self.path, self.stages = path, stages

    def start_afresh(self) -> None:
        """Remove what an earlier, complete run left.

        Raises:
            InputError: The run was cut off, and can be resumed.
        """
        if self.holds_work() and not self.is_finished(self.stages[-1]):
            raise InputError(
                f"{self.path} holds an interrupted run. Resume it with "
                "train(resume_from_checkpoint=True), or delete that folder."
            )
        self.remove()

    def remove(self) -> None:
        """Remove all that is in the folder."""
        shutil.rmtree(self.path, ignore_errors=True)

    def holds_work(self) -> bool:
        """Return whether there is something to resume from: a checkpoint, or a finished stage."""
        return any(self.path.glob("*/checkpoint-*")) or any(self.path.glob("*/finished"))

    def check_resumable(self, resume_from_checkpoint: str | bool) -> None:
        """Refuse to resume from what is not here; warn where there is nothing.

        Args:
            resume_from_checkpoint: As for `StagedTrainer.train`.

        Raises:
            InputError: It is another folder than that of the output, or a stage that has begun was
                asked for something else, or came after others; both values are named.
        """
        output = self.path.parent
        if isinstance(resume_from_checkpoint, str | Path) and not (
            Path(resume_from_checkpoint).resolve() == output.resolve()
        ):
            raise InputError(
                f"resume_from_checkpoint is {str(resume_from_checkpoint)!r}, but a run in stages "
                f"goes on from the newest checkpoint in its output_dir, {output}. Give True."
            )
        if not self.holds_work():
            logger.warning("%s holds nothing to resume: training starts afresh.", output)
        for stage in self.stages:
            asked = self._asked_before(stage)
            if asked is None or asked == self._asked(stage):
                continue
            if len(asked) != len(self._asked(stage)):
                before = ", ".join(repr(other["name"]) for other in asked[:-1]) or "nothing"
                change = f"Stage {stage.name!r} was trained after {before}"
            else:
                pairs = zip(asked, self._asked(stage), strict=True)
                old, new = next(pair for pair in pairs if pair[0] != pair[1])
                changes = [f"{n} was {old[n]!r} and is {new[n]!r}" for n in new if old[n] != new[n]]
                change = f"Stage {old['name']!r} has changed: {', '.join(changes)}"
            raise InputError(
                f"{self.path} cannot be resumed. {change}. Give the stages as they were, or "
                "another output_dir, or delete that folder."
            )

    def begin(self, stage: Stage) -> None:
        """Write down the settings of a stage."""
        with written_whole(self.of(stage) / _ASKED) as path:
            path.write_text(json.dumps(self._asked(stage)))

    def keep(
        self, stage: Stage, model: nn.Module, result: StageResult, log: Sequence[dict[str, Any]]
    ) -> None:
        """Save the result of a stage, in place of its checkpoints."""
        with written_whole(self._finished(stage)) as folder:
            folder.mkdir()
            save_model(model, str(folder / _WEIGHTS))
            record = {"asked": self._asked(stage), "result": asdict(result), "log": log}
            record["digest"] = digest([folder / _WEIGHTS], values=record)
            (folder / "stage.json").write_text(json.dumps(record))
        for checkpoint in self.of(stage).glob("checkpoint-*"):
            shutil.rmtree(checkpoint)
        (self.of(stage) / _ASKED).unlink(missing_ok=True)

    def is_finished(self, stage: Stage) -> bool:
        """Return whether the result of a stage is saved."""
        return self._finished(stage).exists()

    def finished(self, name: str) -> Stage:
        """Return the finished stage of a name.

        Raises:
            InputError: There is none; the message names those that are finished.
        """
        stages = {stage.name: stage for stage in self.stages if self.is_finished(stage)}
        if name not in stages:
            raise InputError(
                f"No stage {name!r} is finished in {self.path}. "
                f"Finished are: {', '.join(map(repr, stages)) or 'none'}."
            )
        return stages[name]

    def load(self, stage: Stage, model: nn.Module) -> tuple[StageResult, list[dict[str, Any]]]:
        """Restore a model to the end of a finished stage; return its result and its log.

        Raises:
            InputError: What is kept are the weights of another model, or is damaged.
        """
        file = self._finished(stage) / _WEIGHTS
        record = self._record(stage)
        expected = record.pop("digest")
        try:
            if digest([file], values=record) != expected:
                raise damaged(file)
            load_model(model, file)
        except (SafetensorError, OSError) as error:
            raise damaged(file) from error
        except RuntimeError as error:
            raise InputError(
                f"{file} has the weights of another model than this {type(model).__name__}. Give "
                "the model of that run, or another output_dir, or delete that folder."
            ) from error
        return StageResult(**record["result"]), record["log"]

    def of(self, stage: Stage) -> Path:
        """Return the folder of the checkpoints of a stage."""
        return self.path / folder_name(stage)

    def _finished(self, stage: Stage) -> Path:
        return self.of(stage) / "finished"

    def _record(self, stage: Stage) -> dict[str, Any]:
        file = self._finished(stage) / "stage.json"
        record: dict[str, Any] = read_json(file, dict)
        if not record.keys() >= {"asked", "result", "log", "digest"}:
            raise damaged(file)
        return record

    def _asked(self, stage: Stage) -> list[dict[str, Any]]:
        """Return the settings of a stage and of those before it."""
        return [asdict(other) for other in self.stages[: self.stages.index(stage) + 1]]

    def _asked_before(self, stage: Stage) -> list[dict[str, Any]] | None:
        """Return those settings as they were when the stage began; `None` if it did not."""
        asked = None
        if self.is_finished(stage):
            asked = self._record(stage)["asked"]
        elif newest_checkpoint(self.of(stage)):
            asked = read_json(self.of(stage) / _ASKED, list)
        return cast(list[dict[str, Any]] | None, asked)


def folder_name(stage: Stage) -> str:
    """Return the name of the folder of a stage."""
    return stage.name.replace(" ", "-")
