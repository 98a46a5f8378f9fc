"""What `StagedTrainer` refuses or tells, and how it chooses between epochs that score the same."""

import logging
import math

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset
from transformers import EarlyStoppingCallback, TrainerCallback, TrainingArguments

from staged_training import InputError, Stage, StagedTrainer
from tests.staged_training.conftest import collate
from tests.staged_training.test_trainer import STAGES, Killed, accuracy, new_model, staged

HEAD = [Stage("head", train="head", epochs=3, learning_rate=0.05)]


def evaluated(arguments, images, stages=HEAD, metric="accuracy", **options):
    options = {"eval_dataset": images, "compute_metrics": accuracy} | options
    args = arguments(metric_for_best_model=metric)
    return staged(new_model(), args, images, stages, **options)


def constant(prediction):
    return {"accuracy": 0.5}


def test_of_epochs_of_equal_score_the_one_of_the_smallest_loss_is_kept(arguments, images):
    trainer = evaluated(arguments, images, compute_metrics=constant)
    trainer.train()
    losses = [e["eval_loss"] for e in trainer.state.log_history if "eval_loss" in e]
    assert losses[-1] == min(losses) and len(set(losses)) == 3
    assert trainer.results[0].best_epoch == 3
    assert trainer.evaluate()["eval_loss"] == pytest.approx(losses[-1])


def test_a_falling_loss_spares_patience_where_scores_are_equal(arguments, images):
    patient = [Stage("head", train="head", epochs=6, learning_rate=0.01, patience=1)]
    trainer = evaluated(arguments, images, patient, compute_metrics=constant)
    trainer.train()
    assert trainer.results[0].epochs == 6


@pytest.mark.parametrize("steps", [4, 7])
def test_a_tie_is_decided_as_ever_after_a_kill(arguments, images, steps):
    class KillAt(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == steps:
                raise Killed

    with pytest.raises(Killed):
        evaluated(arguments, images, compute_metrics=constant, callbacks=[KillAt()]).train()
    trainer = evaluated(arguments, images, compute_metrics=constant)
    trainer.train(resume_from_checkpoint=True)
    assert trainer.results[0].best_epoch == 3


@pytest.mark.parametrize("rate, told", [(1e-9, 1), (0.5, 0)])
def test_a_model_that_predicts_one_label_is_told(arguments, caplog, rate, told):
    labels = torch.arange(24) % 2
    pixels = torch.randn(24, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    data = TensorDataset(pixels + 4 * labels.view(-1, 1, 1, 1), labels)
    stage = [Stage("head", train="all", epochs=8, learning_rate=rate)]
    staged(
        new_model(), arguments(), data, stage, eval_dataset=data, allow_joint_training=True
    ).train()
    assert caplog.text.count("for all validation examples") == told


def test_one_of_several_evaluation_sets_decides(arguments, images):
    sets = {"near": images, "far": TensorDataset(*images[:8])}
    with pytest.raises(InputError, match="Set it to one of: near_accuracy, far_accuracy"):
        evaluated(arguments, images, eval_dataset=sets)
    trainer = evaluated(arguments, images, STAGES, "far_accuracy", eval_dataset=sets)
    trainer.train()
    best = trainer.results[-1].best_score
    assert trainer.evaluate()["eval_far_accuracy"] == best


def test_a_score_that_evaluation_does_not_give_is_told_before_training(arguments, images):
    class NoStep(TrainerCallback):
        def on_train_begin(self, args, state, control, **kwargs):
            raise AssertionError

    trainer = evaluated(arguments, images, metric="acuracy", callbacks=[NoStep()])
    with pytest.raises(
        InputError, match="'acuracy', but evaluation gives eval_accuracy, eval_loss"
    ):
        trainer.train()


def test_a_score_that_few_examples_do_not_give_is_accepted(arguments, images):
    def of_many(prediction):
        return accuracy(prediction) if len(prediction.label_ids) > 8 else {}

    evaluated(arguments, images, compute_metrics=of_many).train()


@pytest.mark.parametrize("event", ["on_epoch_end", "on_train_end"])
@pytest.mark.parametrize("options", [{}, {"metric_key_prefix": "other"}])
def test_callbacks_may_evaluate(arguments, images, event, options):
    class Evaluates(TrainerCallback):
        def evaluate(self, *_, **__):
            self.trainer.evaluate(images, **options)

    callback = Evaluates()
    setattr(callback, event, callback.evaluate)
    callback.trainer = trainer = evaluated(arguments, images, STAGES, callbacks=[callback])
    output = trainer.train()
    assert math.isfinite(output.training_loss)
    alone = evaluated(arguments, images, STAGES)
    alone.train()
    assert [r.best_score for r in trainer.results] == [r.best_score for r in alone.results]


def test_max_steps_is_refused(arguments, images):
    with pytest.raises(InputError, match="max_steps is 2"):
        staged(new_model(), arguments(max_steps=2), images)


@pytest.mark.parametrize("evaluates", [True, False])
def test_a_callback_that_stops_in_the_first_epoch_ends_the_stage(arguments, images, evaluates):
    class Stops(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            control.should_training_stop = True

    class KillAtTheEnd(TrainerCallback):
        def on_train_end(self, args, state, control, **kwargs):
            raise Killed

    options = {} if evaluates else {"eval_dataset": None}

    def run(*callbacks, resume=False):
        trainer = evaluated(arguments, images, HEAD, callbacks=[Stops(), *callbacks], **options)
        trainer.train(resume_from_checkpoint=resume)
        return trainer

    whole = run()
    assert (whole.results[0].epochs, whole.results[0].best_epoch) == (1, 1)
    with pytest.raises(Killed):
        run(KillAtTheEnd())
    resumed = run(resume=True)
    assert (resumed.results[0].epochs, resumed.results[0].best_epoch) == (1, 1)
    assert torch.equal(resumed.model.head.weight, whole.model.head.weight)


def test_early_stopping_of_the_user_stays_beside_the_patience_of_a_stage(arguments, images):
    stopping = EarlyStoppingCallback(early_stopping_patience=50)
    stages = [
        Stage("head", train="head", epochs=9, learning_rate=1e-9, patience=1),
        Stage("again", train="head", epochs=9, learning_rate=1e-9, patience=2),
    ]
    trainer = evaluated(arguments, images, stages, callbacks=[stopping])
    trainer.train()
    assert [result.epochs for result in trainer.results] == [2, 2]
    assert [c for c in trainer.callback_handler.callbacks if c is stopping]
    assert stopping.early_stopping_patience == 50
