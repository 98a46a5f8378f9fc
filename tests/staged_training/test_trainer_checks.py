"""What `StagedTrainer` refuses or tells, and how it chooses between epochs that score the same."""

import math
from dataclasses import replace

import pytest
import torch
from torch.utils.data import TensorDataset
from transformers import EarlyStoppingCallback, TrainerCallback

from staged_training import InputError, Stage
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


@pytest.mark.parametrize("rate, told", [(1e-9, 1), (0.05, 0)])
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
    for result in trainer.results:
        scores = [
            entry["eval_accuracy"]
            for entry in trainer.state.log_history
            if entry["stage"] == result.name and "eval_accuracy" in entry
        ]
        assert result.best_score >= max(scores)


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
    assert [result.epochs for result in trainer.results] == [2, 3]
    assert [c for c in trainer.callback_handler.callbacks if c is stopping]
    assert stopping.early_stopping_patience == 50


@pytest.mark.parametrize("path", ["/no/such", "out/_stages", "out/_stages/head/checkpoint-3"])
def test_a_path_to_resume_from_that_is_not_the_output_folder_is_refused(
    arguments, images, tmp_path, path
):
    trainer = staged(new_model(), arguments(), images)
    with pytest.raises(InputError, match="goes on from the newest checkpoint in its output_dir"):
        trainer.train(resume_from_checkpoint=str(tmp_path / path))


def test_nothing_to_resume_from_is_told_once(arguments, images, tmp_path, caplog):
    trainer = staged(new_model(), arguments(), images, HEAD)
    assert not trainer.begun
    trainer.train(resume_from_checkpoint=True)
    assert caplog.text.count("nothing to resume") == 1
    assert trainer.begun
    trainer.train(resume_from_checkpoint=str(tmp_path / "out"))
    assert caplog.text.count("nothing to resume") == 1


@pytest.mark.parametrize(
    "change, told",
    [
        ({"epochs": 4}, "'head' has changed: epochs was 3 and is 4"),
        ({"learning_rate": 0.1}, "learning_rate was 0.05 and is 0.1"),
        ({"train": "head, backbone[-1:]"}, "train was 'head' and is"),
        ({"name": "top"}, "'top blocks' has changed|'head' has changed: name was"),
    ],
)
@pytest.mark.parametrize("steps", [4, 100])
def test_a_stage_that_was_edited_is_not_taken_as_it_was(arguments, images, change, told, steps):
    class KillAt(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == steps:
                raise Killed

    stages = [*HEAD, Stage("top blocks", train="head", epochs=1, learning_rate=0.01)]
    trainer = staged(new_model(), arguments(), images, stages, callbacks=[KillAt()])
    if steps < 9:
        with pytest.raises(Killed):
            trainer.train()
        if "name" in change:
            return
    else:
        trainer.train()
    edited = [replace(stages[0], **change), stages[1]]
    options = {"allow_joint_training": True}
    with pytest.raises(InputError, match=told):
        staged(new_model(), arguments(), images, edited, **options).train(True)


def test_a_stage_that_came_after_others_is_not_taken_without_them(arguments, images):
    staged(new_model(), arguments(), images).train()
    trainer = staged(new_model(), arguments(), images, STAGES[1:], allow_joint_training=True)
    with pytest.raises(InputError, match="'top blocks' was trained after 'head'"):
        trainer.train(resume_from_checkpoint=True)


def test_a_stage_of_another_model_is_not_taken(arguments, images):
    staged(new_model(), arguments(), images, HEAD).train()
    other = new_model()
    other.head = torch.nn.Linear(other.head.in_features, 3)
    with pytest.raises(InputError, match="has the weights of another model than this ConvNet"):
        staged(other, arguments(), images, HEAD).train(resume_from_checkpoint=True)


def test_stages_that_would_share_a_folder_are_refused(arguments, images):
    stages = [Stage(name, "head", 1, learning_rate=0.1) for name in ("top layers", "top-layers")]
    with pytest.raises(InputError, match="'top layers' and 'top-layers' would share a folder"):
        staged(new_model(), arguments(), images, stages)


def test_an_optimizer_of_some_parameters_is_refused(arguments, images):
    model = new_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(InputError, match="optimizer_cls_and_kwargs="):
        staged(model, arguments(), images, optimizers=(optimizer, None))
    with pytest.raises(InputError, match="has a rate 'lr'"):
        staged(model, arguments(), images, optimizer_cls_and_kwargs=(torch.optim.SGD, {"lr": 1}))


def test_a_class_of_optimizers_is_used_in_every_stage_at_its_rate(arguments, images):
    found = []

    class Optimizers(TrainerCallback):
        def on_train_begin(self, args, state, control, optimizer, **kwargs):
            groups = optimizer.param_groups
            rates = {group["initial_lr"] for group in groups}
            found.append((type(optimizer.optimizer), groups[0]["momentum"], rates))

    sgd = (torch.optim.SGD, {"momentum": 0.5})
    staged(
        new_model(), arguments(), images, optimizer_cls_and_kwargs=sgd, callbacks=[Optimizers()]
    ).train()
    assert found == [
        (torch.optim.SGD, 0.5, {0.05}),
        (torch.optim.SGD, 0.5, {0.005, 0.01}),
    ]


def test_arguments_that_stages_replace_are_told(arguments, images, caplog):
    unset = {"num_train_epochs": 3.0, "learning_rate": 5e-5, "save_strategy": "epoch"}
    staged(new_model(), arguments(**unset), images)
    assert "Not used" not in caplog.text
    staged(new_model(), arguments(**unset | {"num_train_epochs": 7}), images)
    assert caplog.text.count("num_train_epochs of the arguments") == 1


@pytest.mark.parametrize(
    "given, told",
    [
        ({"eval_strategy": "steps", "eval_steps": 5}, "eval_strategy, eval_steps of"),
        ({"logging_steps": 5, "save_strategy": "no"}, "logging_steps, save_strategy of"),
        ({"eval_strategy": "epoch", "logging_strategy": "epoch"}, ""),
    ],
)
def test_a_pace_other_than_that_of_epochs_is_told(arguments, images, caplog, given, told):
    args = arguments(**{"save_strategy": "epoch"} | given)
    staged(new_model(), args, images, eval_dataset=images)
    assert told in caplog.text
    assert ("after each epoch" in caplog.text) == bool(told)


@pytest.mark.parametrize("broken", ["accuracy", "loss"])
def test_a_score_that_is_no_number_is_told_and_never_the_best(arguments, images, caplog, broken):
    calls = []

    def metrics(prediction):
        calls.append(1)
        return {"accuracy": float("nan") if len(calls) == 4 else len(calls) / 10}

    trainer = evaluated(arguments, images, compute_metrics=metrics)
    trainer.train()  # once on few examples, once after each epoch
    assert "eval_accuracy is NaN in epoch 3" in caplog.text
    assert trainer.results[0].best_epoch == 2


def test_scores_none_of_which_is_a_number_leave_the_last_epoch(arguments, images):
    trainer = evaluated(
        arguments, images, compute_metrics=lambda prediction: {"accuracy": float("nan")}
    )
    trainer.train()
    assert (trainer.results[0].best_epoch, trainer.results[0].best_score) == (3, None)


def test_a_stage_that_only_tunes_ends_with_its_last_epoch_where_no_score_is_a_number(
    arguments, images
):
    trainer = evaluated(
        arguments, images, STAGES, compute_metrics=lambda prediction: {"accuracy": float("nan")}
    )
    trainer.train()
    tuned = trainer.results[-1]
    assert (tuned.best_epoch, tuned.best_score) == (tuned.epochs, None)


@pytest.mark.parametrize("score", [None, "high"])
def test_a_score_that_compute_metrics_leaves_empty_is_refused(arguments, images, score):
    trainer = evaluated(arguments, images, compute_metrics=lambda prediction: {"accuracy": score})
    with pytest.raises(InputError, match=f"gives {score!r} for it. It must be a number"):
        trainer.train()


def test_a_stage_that_is_not_finished_cannot_be_loaded(arguments, images):
    trainer = staged(new_model(), arguments(), images, HEAD)
    with pytest.raises(InputError, match="Finished are: none"):
        trainer.load_stage("head")
    trainer.train()
    with pytest.raises(InputError, match=r"No stage 'haed' is .* Finished are: 'head'"):
        trainer.load_stage("haed")
    trainer.load_stage("head")


def test_data_that_leave_nothing_to_learn_or_to_choose_by_are_refused(arguments, images):
    def run(data, args=None, **options):
        staged(new_model(), args or arguments(), data, HEAD, **options).train()

    ignored = TensorDataset(images.tensors[0], torch.full((24,), -100))
    nothing = TensorDataset(*images[:0])
    few = arguments(dataloader_drop_last=True, per_device_train_batch_size=32)
    patient = [replace(HEAD[0], patience=1)]
    for refused, told in (
        (lambda: run(ignored), "Every label of train_dataset is -100"),
        (lambda: run(nothing), "train_dataset has no example"),
        (lambda: run(images, eval_dataset=nothing), "eval_dataset has no example"),
        (lambda: run(images, eval_dataset={"a": nothing}), r"eval_dataset\['a'\] has no example"),
        (lambda: run(images, few), "train_dataset has fewer examples than a batch"),
        (lambda: staged(new_model(), arguments(), images, patient), "'head' has patience"),
    ):
        with pytest.raises(InputError, match=told):
            refused()
    args = arguments(dataloader_drop_last=True, per_device_eval_batch_size=16)
    with pytest.raises(InputError, match="eval_dataset has fewer examples than a batch"):
        run(images, args, eval_dataset=TensorDataset(*images[:8]))


def test_labels_of_which_few_count_are_trained_on(arguments, images):
    labels = torch.cat([torch.full((20,), -100), torch.tensor([0, 1, 0, 1])])
    staged(new_model(), arguments(), TensorDataset(images.tensors[0], labels), HEAD).train()
