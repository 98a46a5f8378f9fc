"""The search for stages by `hyperparameter_search`."""

import pytest
import torch

from staged_training import InputError, Stage, StagedTrainer
from tests.staged_training.conftest import collate
from tests.staged_training.test_trainer import STAGES, KillAfter, Killed, accuracy, new_model

optuna = pytest.importorskip("optuna")


def stages_of(trial):
    if trial is None:
        return STAGES
    rate = trial.suggest_float("rate", 1e-3, 0.1, log=True)
    epochs = trial.suggest_int("epochs", 1, 2)
    layers = trial.suggest_categorical("layers", ["head", "blocks.1, head"])
    return [
        Stage("head", train="head", epochs=epochs, learning_rate=rate),
        Stage("top", train=layers, epochs=1, learning_rate=rate),
    ]


def searching(arguments, images, stages=stages_of, model=None, **options):
    args = arguments(metric_for_best_model="accuracy")
    options = {"model_init": None if model else new_model, "compute_metrics": accuracy} | options
    return StagedTrainer(
        model,
        args,
        stages,
        train_dataset=images,
        eval_dataset=images,
        data_collator=collate,
        **options,
    )


def search(trainer, **options):
    sampler = optuna.samplers.RandomSampler(seed=0)
    return trainer.hyperparameter_search(
        backend="optuna",
        n_trials=2,
        direction="maximize",
        sampler=sampler,
        compute_objective=lambda metrics: metrics["eval_accuracy"],
        **options,
    )


def test_rates_epochs_and_layers_are_searched_each_trial_from_a_new_model(
    arguments, images, tmp_path
):
    trainer = searching(arguments, images)
    best = search(trainer)
    assert set(best.hyperparameters) == {"rate", "epochs", "layers"}
    runs = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert runs == ["run-0", "run-1"]
    trainer.train(trial=optuna.trial.FixedTrial(best.hyperparameters))
    assert trainer.evaluate()["eval_accuracy"] == pytest.approx(best.objective)
    assert trainer.results[0].epochs == best.hyperparameters["epochs"]
    assert (tmp_path / "out" / "_stages" / "top" / "finished").exists()


def test_a_search_can_be_repeated_and_finds_the_same(arguments, images):
    first, second = (search(searching(arguments, images)) for _ in range(2))
    assert first == second


def test_arguments_are_searched_where_stages_stay(arguments, images):
    trainer = searching(arguments, images, STAGES)
    best = search(trainer, hp_space=lambda t: {"weight_decay": t.suggest_float("decay", 0, 1)})
    assert set(best.hyperparameters) == {"decay"}
    assert 0 < trainer.args.weight_decay < 1


def test_a_trial_that_is_pruned_leaves_the_next_alone(arguments, images, tmp_path):
    pruner = optuna.pruners.ThresholdPruner(lower=2.0, n_warmup_steps=4)
    with pytest.raises(ValueError, match="No trials are completed"):
        search(searching(arguments, images), pruner=pruner)
    runs = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert runs == ["run-0", "run-1"]


def test_what_cannot_be_searched_is_refused(arguments, images):
    with pytest.raises(InputError, match="Nothing is searched"):
        search(searching(arguments, images, STAGES))
    with pytest.raises(InputError, match="hp_space gives learning_rate"):
        search(searching(arguments, images), hp_space=lambda trial: {"learning_rate": 1.0})


def test_a_run_of_model_init_ends_as_that_of_its_model_also_after_a_kill(arguments, images):
    def run(model=None, *callbacks, resume=False):
        trainer = searching(arguments, images, STAGES, model, callbacks=list(callbacks))
        trainer.train(resume_from_checkpoint=resume)
        return trainer.model.state_dict()

    expected = run(new_model())
    found = run()
    with pytest.raises(Killed):
        run(None, KillAfter(10))
    resumed = run(resume=True)
    for name, tensor in expected.items():
        assert torch.equal(tensor, found[name]) and torch.equal(tensor, resumed[name]), name


def test_features_are_reused_in_every_trial(arguments, images):
    whole, reused = (
        search(searching(arguments, images, reuse_features=reuse)) for reuse in (False, True)
    )
    assert whole.hyperparameters == reused.hyperparameters
    assert whole.objective == reused.objective
