"""Training a new head on a frozen image model, against `Trainer`, fastai and scikit-learn.

Cats and dogs, 296 photos to train on and 74 to test (fold 0 of the shipped pets),
EfficientNet-Lite0 with the preprocessing of its pretraining, the same new linear head, batches and
rate for all; scikit-learn gets the features that the toolkit computes. The time counts from the
first image read to the last prediction. `moved` counts those of the 98 BatchNorm statistics of
the "frozen" base that changed. All have the model laid out for convolutions (channels last), as the
toolkit loads it; with `--layout contiguous` Trainer and fastai get it in the layout of
`from_pretrained`, as in many scripts.

    pip install 'nlp-transfer[benchmarks]'
    python benchmarks/frozen_head.py [--epochs 5] [--layout contiguous] [--skip fastai]
"""

import sys
import tempfile
import time

import numpy as np
from contest import (
    Section,
    column,
    compared,
    medians,
    run_benchmark,
    take_turns,
    time_and_memory,
)
from pets import accuracy, fastai_learner, fastai_predictions, parts, training_arguments

RATE = 1e-3
FEW = 5
TARGETS = {FEW: {"Trainer": 7, "fastai": 12}, 20: {"Trainer": 25}}


def trainer_of(model, train, epochs: int, folder: str):
    from transformers import Trainer, default_data_collator

    arguments = training_arguments(folder, num_train_epochs=epochs, learning_rate=RATE)
    return Trainer(model, arguments, train_dataset=train, data_collator=default_data_collator)


def plain_trainer(model, train, test, epochs: int, folder: str):
    """`requires_grad=False` on all but the head, as scripts do it."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad = "classifier" in name
    trainer = trainer_of(model, train, epochs, folder)
    trainer.train()
    return trainer.predict(test).predictions


def really_frozen(model, train, test, epochs: int, folder: str):
    """The same, with a base in which nothing moves."""
    from staged_training import freeze

    freeze(model, "backbone")
    trainer = trainer_of(model, train, epochs, folder)
    trainer.train()
    return trainer.predict(test).predictions


def toolkit(model, train, test, epochs: int, folder: str):
    """The same on features that the base computes once."""
    from staged_training import freeze, on_features

    freeze(model, "backbone")
    trainer = trainer_of(model, train, epochs, folder)
    trainer.eval_dataset = test
    with on_features(trainer):
        trainer.train()
        return trainer.predict(trainer.eval_dataset).predictions


def fastai(model, train, test, epochs: int, folder: str):
    """fastai's `freeze()` on the same model and images."""
    learner = fastai_learner(model, train, test)
    learner.freeze()
    with learner.no_logging():
        learner.fit(epochs, RATE)
    return fastai_predictions(learner)


def logistic_regression(model, train, test, epochs: int, folder: str):
    """scikit-learn on the features: the floor to match."""
    from sklearn.linear_model import LogisticRegression
    from transformers import default_data_collator

    from staged_training.features.extraction import compute_features

    features = [
        compute_features(model, part, default_data_collator).columns["features"].numpy()
        for part in (train, test)
    ]
    return LogisticRegression(max_iter=1000).fit(features[0], train.labels).decision_function(
        features[1]
    )[:, None] * np.array([-0.5, 0.5])


PEERS = ("Trainer", "fastai")
CONTESTANTS = {
    "toolkit": toolkit,
    "Trainer": plain_trainer,
    "Trainer, really frozen": really_frozen,
    "fastai": fastai,
    "scikit-learn": logistic_regression,
}


def compete(contestant: str, arguments) -> dict[str, float]:
    import torch
    from transformers import set_seed

    model, train, test = parts("species", 24 if arguments.quick else None)
    if contestant in PEERS and arguments.layout == "contiguous":
        model.to(memory_format=torch.contiguous_format)
    before = {n: t.clone() for n, t in model.state_dict().items() if "running" in n}
    set_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        logits = CONTESTANTS[contestant](model, train, test, arguments.epochs, folder)
        seconds = time.perf_counter() - start
    moved = [n for n, t in model.state_dict().items() if n in before and not t.equal(before[n])]
    return {"seconds": seconds, "accuracy": accuracy(logits, test), "moved": len(moved)}


def measure(arguments) -> Section:
    names = [name for name in CONTESTANTS if name not in arguments.skip]
    results = take_turns(__file__, names, arguments.runs)
    peers = [*PEERS, "scikit-learn"]
    what = f"new head on a frozen image model, {arguments.epochs} epochs"
    rows = time_and_memory(results, peers, what)
    rows += compared(results, "accuracy", peers, f"{what}: accuracy", "", more_is_better=True)
    own = medians(results, "toolkit")
    targets = {
        f"at least {times}x as fast as {name}": (
            medians(results, name)["seconds"] >= times * own["seconds"]
        )
        for name, times in TARGETS.get(arguments.epochs, {}).items()
        if name in names and arguments.layout == "contiguous"
    }
    targets["neither Trainer nor fastai is more accurate"] = all(
        medians(results, name)["accuracy"] <= own["accuracy"] for name in PEERS if name in names
    )
    targets["nothing in the frozen base moved"] = not any(column(results, "toolkit", "moved"))
    return Section(__doc__, results, rows, targets)


def options(parser) -> None:
    parser.add_argument("--epochs", type=int, default=FEW, help="epochs of each contestant")
    parser.add_argument("--skip", nargs="*", default=[], metavar="NAME", help="leave out")
    parser.add_argument(
        "--layout",
        choices=["channels-last", "contiguous"],
        default="channels-last",
        help="how Trainer and fastai get the model",
    )


if __name__ == "__main__":
    sys.exit(run_benchmark(__doc__, compete, measure, options))
