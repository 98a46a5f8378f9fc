"""Training a new head on a frozen image model, against `Trainer`, fastai and scikit-learn.

Cats and dogs, 296 photos to train on and 74 to test (fold 0 of the shipped pets),
EfficientNet-Lite0 with the preprocessing of its pretraining, the same new linear head, batches and
rate for all. Each contestant runs in a process of its own; its time counts from the first image
read to the last prediction. Trainer and fastai get the model in the memory layout of
`from_pretrained`, as in scripts; the toolkit lays it out for convolutions when it loads it. What
became of the BatchNorm statistics of the "frozen" base is told.

    pip install 'nlp-transfer[benchmarks]'
    python benchmarks/frozen_head.py [--epochs 5] [--skip fastai]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

PETS = Path(__file__).parents[1] / "recipes" / "data" / "pets"
BATCH, RATE = 32, 1e-3
FEW = 5
TARGETS = {FEW: {"Trainer": 7, "fastai": 12}, 20: {"Trainer": 25}}


def parts():
    """The model, the images to train on and those to test on."""
    from vision_transfer.backbones import load_backbone
    from vision_transfer.image_task import read_image_task

    task = read_image_task(PETS, "species")
    model, processor = load_backbone("efficientnet-lite0", task.names)
    train, test = np.flatnonzero(task.folds != 0), np.flatnonzero(task.folds == 0)
    return model, task.dataset(train, processor), task.dataset(test, processor)


def trainer_of(model, train, epochs: int, folder: str):
    from transformers import Trainer, TrainingArguments, default_data_collator

    arguments = TrainingArguments(
        folder,
        num_train_epochs=epochs,
        per_device_train_batch_size=BATCH,
        per_device_eval_batch_size=BATCH,
        learning_rate=RATE,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )
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
    import torch
    from fastai.callback.progress import ProgressCallback
    from fastai.data.core import DataLoaders
    from fastai.data.load import DataLoader
    from fastai.learner import Learner

    class Logits(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, pixels):
            return self.model(pixels).logits

    def split(wrapped):
        named = list(wrapped.named_parameters())
        return [[p for n, p in named if ("classifier" in n) == head] for head in (False, True)]

    def batch(examples):
        labels = torch.stack([example["labels"] for example in examples])
        return torch.stack([example["pixel_values"] for example in examples]), labels

    loaders = DataLoaders(
        DataLoader(train, bs=BATCH, shuffle=True, create_batch=batch, num_workers=0),
        DataLoader(test, bs=BATCH, create_batch=batch, num_workers=0),
    )
    loss = torch.nn.CrossEntropyLoss()
    learner = Learner(loaders, Logits(), loss_func=loss, splitter=split, cbs=[])
    learner.remove_cb(ProgressCallback)
    learner.freeze()
    with learner.no_logging():
        learner.fit(epochs, RATE)
        logits, _ = learner.get_preds(dl=loaders.valid, act=lambda x: x)
    return logits.numpy()


def logistic_regression(model, train, test, epochs: int, folder: str):
    """scikit-learn on the features: the floor to match."""
    from sklearn.linear_model import LogisticRegression
    from transformers import default_data_collator

    from staged_training.feature_reuse import compute_features

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


def compete(contestant: str, epochs: int) -> None:
    """Run one contestant in this process and print what came of it."""
    import torch
    from transformers import set_seed

    model, train, test = parts()
    if contestant in PEERS:
        model.to(memory_format=torch.contiguous_format)
    before = {n: t.clone() for n, t in model.state_dict().items() if "running" in n}
    set_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        logits = CONTESTANTS[contestant](model, train, test, epochs, folder)
        seconds = time.perf_counter() - start
    moved = [n for n, t in model.state_dict().items() if n in before and not t.equal(before[n])]
    accuracy = float((np.asarray(logits).argmax(1) == np.asarray(test.labels)).mean())
    result = {"seconds": seconds, "accuracy": accuracy, "moved": len(moved), "of": len(before)}
    print(json.dumps(result))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=FEW, help="epochs of each contestant")
    parser.add_argument("--skip", nargs="*", default=[], metavar="NAME", help="leave out")
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contestant:
        compete(arguments.contestant, arguments.epochs)
        return 0
    run = partial(subprocess.run, check=True, stdout=subprocess.PIPE, text=True)
    results = {}
    for name in CONTESTANTS:
        if name not in arguments.skip:
            command = [sys.executable, __file__, "--contestant", name]
            output = run([*command, "--epochs", str(arguments.epochs)]).stdout
            results[name] = json.loads(output.splitlines()[-1])
    return report(results, arguments.epochs)


def report(results: dict[str, dict], epochs: int) -> int:
    """Print the figures; 1 if a target is missed."""
    own = results["toolkit"]
    print(f"{epochs} epochs")
    print(
        f"{'':24}{'seconds':>9}{'to toolkit':>12}{'accuracy':>10}  BatchNorm statistics that moved"
    )
    for name, result in results.items():
        ratio = result["seconds"] / own["seconds"]
        print(
            f"{name:24}{result['seconds']:9.1f}{ratio:11.1f}x{result['accuracy']:10.3f}"
            f"  {result['moved']} of {result['of']}"
        )
    held = {
        f"at least {times}x as fast as {name}": results[name]["seconds"] / own["seconds"] >= times
        for name, times in TARGETS.get(epochs, {}).items()
        if name in results
    }
    held["neither Trainer nor fastai is more accurate"] = all(
        results[name]["accuracy"] <= own["accuracy"] for name in PEERS if name in results
    )
    held["nothing in the frozen base moved"] = own["moved"] == 0
    for target, holds in held.items():
        print(f"{'holds ' if holds else 'MISSED'}  {target}")
    return 0 if all(held.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
