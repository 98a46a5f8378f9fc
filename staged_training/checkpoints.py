"""Checkpoints that are either there whole or not at all, and whose order no clock decides."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import Trainer, TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, rotate_checkpoints
from transformers.utils import SAFE_WEIGHTS_NAME

from staged_training.runtime.files import PARTIAL, unwritable_reported


class CheckpointingTrainer(Trainer):
    """A `Trainer` that can be killed at any moment and goes on from its newest checkpoint.

    `Trainer` writes a checkpoint file by file to where it is looked for, and removes those that are
    oldest by the clock: of a clock that was set back, the newest. Here a checkpoint is written
    under another name and renamed when all processes are done, and its steps tell how old it is.
    """

    model: nn.Module
    _workspace: Path | None = None

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._workspace) if self._workspace else super()._get_output_dir(trial)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        if not self._workspace:  # uploads go on while training does, from where it stays
            super()._push_from_checkpoint(checkpoint_folder)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        folder = Path(self._get_output_dir(trial))
        checkpoint = folder / _name(self.state.global_step)
        workspace = folder / f".{checkpoint.name}{PARTIAL}"  # the same for all processes
        with unwritable_reported(checkpoint):
            if self.args.should_save:
                shutil.rmtree(workspace, ignore_errors=True)
            self.accelerator.wait_for_everyone()
            self._workspace = workspace
            try:
                super()._save_checkpoint(model, trial)
            finally:
                self._workspace = None
            if self.state.best_global_step == self.state.global_step:
                self.state.best_model_checkpoint = str(checkpoint)
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                written = workspace / checkpoint.name
                self.state.save_to_json(str(written / TRAINER_STATE_NAME))
                shutil.rmtree(checkpoint, ignore_errors=True)  # of a run that was not resumed
                written.replace(checkpoint)
                workspace.rmdir()
                rotate_checkpoints(
                    str(folder), self.args.save_total_limit, self.state.best_model_checkpoint
                )
            self.accelerator.wait_for_everyone()
        if self.args.push_to_hub:
            self._push_from_checkpoint(str(checkpoint))

    def _save(
        self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None
    ) -> None:
        """Save a model; in a checkpoint of a stage only what the stage can change.

        It has the names of the model: `save_pretrained` gives some others, which `Trainer` does not
        find again.
        """
        if not self._workspace or state_dict is not None:
            super()._save(output_dir, state_dict)
            return
        kept = self.model.state_dict()
        changing = [*self.model.named_parameters(), *self.model.named_buffers()]
        tensors = {
            name: tensor.detach().contiguous()
            for name, tensor in changing
            if name in kept and (tensor.requires_grad or not isinstance(tensor, torch.nn.Parameter))
        }
        folder = Path(str(output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, folder / SAFE_WEIGHTS_NAME, {"format": "pt"})

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """Say nothing of what a checkpoint of a stage lacks: it has not changed."""


def newest_checkpoint(folder: Path) -> Path | None:
    """Return the last complete checkpoint: `Trainer` writes its state file last."""
    checkpoints = sorted(
        folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*"), key=lambda path: int(path.name.split("-")[-1])
    )
    for checkpoint in reversed(checkpoints):
        try:
            json.loads((checkpoint / TRAINER_STATE_NAME).read_text())
        except (OSError, json.JSONDecodeError):
            continue
        return checkpoint
    return None


def epochs_to_stop(checkpoint: Path) -> int | None:
    """Return the number of whole epochs at which early stopping ended a run, or `None`.

    Patience stops a run, and so do callbacks, also in the middle of an epoch.
    """
    state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
    stops = state.stateful_callbacks["TrainerControl"]["args"]["should_training_stop"]
    return int(state.epoch or 0) if stops else None


def _name(step: int) -> str:
    return f"{PREFIX_CHECKPOINT_DIR}-{step}"
