"""Arguments of a candidate's training, and its curves, watched while it runs."""

from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments

from staged_training.runtime.processes import ONE_BATCH


def tracked_arguments(
    folder: Path, seed: int, report_to: str, **settings: Any
) -> TrainingArguments:
    """Return training arguments for a piece of work, on any number of processes.

    Args:
        folder: For checkpoints; its last three parts name the run where it is watched.
        seed: Random seed.
        report_to: Where training is watched, as for `TrainingArguments`.
        **settings: All else that `TrainingArguments` takes.
    """
    return TrainingArguments(
        str(folder),
        seed=seed,
        accelerator_config=ONE_BATCH,
        dataloader_pin_memory=torch.accelerator.is_available(),  # it warns where there is none
        report_to=report_to,
        run_name="/".join(folder.parts[-3:]),
        project="nlp-transfer",
        **settings,
    )


def end_tracking(report_to: str | list[str] | None) -> None:
    """End the run of `wandb`, so that the next training is a run of its own."""
    if "wandb" in (report_to or ()):
        import wandb

        wandb.finish()
