"""Checkpoints are whole or absent, and a clock that is set back makes none of them the oldest."""

import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback, set_seed

from staged_training.checkpoints import CheckpointingTrainer, newest_checkpoint
from tests.staged_training.conftest import ConvNet, Touch, collate

STEPS = 3  # of an epoch


def trainer(arguments, images, *callbacks, eval_dataset=None, **options):
    set_seed(0)
    args = arguments(
        save_strategy="epoch", save_total_limit=1, num_train_epochs=4, learning_rate=0.01, **options
    )
    return CheckpointingTrainer(
        ConvNet(),
        args,
        train_dataset=images,
        eval_dataset=eval_dataset,
        data_collator=collate,
        callbacks=list(callbacks),
    )


class ClockSetBack(TrainerCallback):
    """What is on disk before each epoch was written tomorrow."""

    def on_epoch_begin(self, args, state, control, **kwargs):
        for path in Path(args.output_dir).glob("checkpoint-*"):
            later = path.stat().st_mtime + 86400
            os.utime(path, (later, later))


def test_a_checkpoint_that_was_not_written_to_its_end_is_none(
    arguments, images, tmp_path, monkeypatch
):
    save = torch.save

    def killed(state, path, *args, **kwargs):
        if "checkpoint-6" in str(path) and "optimizer" in str(path):
            raise KeyboardInterrupt
        save(state, path, *args, **kwargs)

    cut_off = trainer(arguments, images)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(torch, "save", killed)
        cut_off.train()
    out = tmp_path / "out"
    assert [path.name for path in out.glob("checkpoint-*")] == ["checkpoint-3"]
    resumed = trainer(arguments, images)
    resumed.train(resume_from_checkpoint=str(newest_checkpoint(out)))
    whole = trainer(arguments, images)
    whole.train()
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name
    assert [path.name for path in out.iterdir()] == ["checkpoint-12"]


def test_the_newest_checkpoint_stays_though_the_clock_was_set_back(arguments, images, tmp_path):
    trainer(arguments, images, ClockSetBack()).train()
    assert newest_checkpoint(tmp_path / "out").name == f"checkpoint-{4 * STEPS}"


def test_the_best_epoch_is_kept_beside_the_newest_and_loaded_in_the_end(
    arguments, images, tmp_path, monkeypatch
):
    losses = iter([0.1, 0.4, 0.3, 0.2])
    made = trainer(
        arguments,
        images,
        eval_dataset=images,
        eval_strategy="epoch",
        load_best_model_at_end=True,
        metric_for_best_model="loss",
    )
    evaluate = made.evaluation_loop

    def with_loss(*args, **kwargs):
        result = evaluate(*args, **kwargs)
        result.metrics["eval_loss"] = next(losses)
        return result

    monkeypatch.setattr(made, "evaluation_loop", with_loss)
    made.args.save_total_limit = 2
    made.train()
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {"checkpoint-3", "checkpoint-12"}
    state = json.loads((out / "checkpoint-12" / "trainer_state.json").read_text())
    assert state["best_model_checkpoint"] == str(out / "checkpoint-3")
    best = load_file(out / "checkpoint-3" / "model.safetensors")
    assert all(torch.equal(t, made.model.state_dict()[name]) for name, t in best.items())


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_checkpoint_with_code_in_it_runs_nothing(name, arguments, images, tmp_path):
    trainer(arguments, images).train()
    checkpoint, marker = newest_checkpoint(tmp_path / "out"), tmp_path / "it-ran"
    torch.save({"state": Touch(marker)}, checkpoint / name)
    resumed = trainer(arguments, images)
    resumed.args.num_train_epochs = 8
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        resumed.train(resume_from_checkpoint=str(checkpoint))
    assert not marker.exists()
