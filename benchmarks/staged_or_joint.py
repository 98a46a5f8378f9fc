"""Head first, or head and base together from the start: validation accuracy, epoch by epoch.

The shipped pets, EfficientNet-Lite0, five seeds, each on another fold. Both train the same layers
for as many epochs: the one the head alone on the frozen base and then the top layers with it, the
other all of them from the first step, at the rate of a few that is best for it. Prints a table, and
draws the curves with --picture.

    python benchmarks/staged_or_joint.py [--labels species breed] [--picture curves.png]
"""

import argparse
import logging
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from pets import PETS
from transformers import TrainingArguments, default_data_collator

from staged_training import Stage, StagedTrainer
from staged_training.heads.class_balance import metrics_on
from vision_transfer.backbones import load_backbone
from vision_transfer.candidates import TOP_LAYERS
from vision_transfer.image_task import read_image_task

SEEDS = range(5)
HEAD = Stage("head", train="head", epochs=5, learning_rate=1e-2)
JOINT = replace(TOP_LAYERS, name="together", epochs=HEAD.epochs + TOP_LAYERS.epochs)
WAYS = {"head, then top layers": [HEAD, TOP_LAYERS]} | {
    f"together from the start, rate {rate:g}": [replace(JOINT, learning_rate=rate)]
    for rate in (TOP_LAYERS.learning_rate, 1e-3, HEAD.learning_rate)
}


def train(task, stages: list[Stage], seed: int) -> StagedTrainer:
    """Train in stages on one fold; the trainer has the log and the results."""
    model, processor = load_backbone("efficientnet-lite0", task.names, seed)
    split = task.split(seed % 5)
    with tempfile.TemporaryDirectory() as folder:
        trainer = StagedTrainer(
            model,
            TrainingArguments(
                folder,
                seed=seed,
                per_device_train_batch_size=16,
                metric_for_best_model="accuracy",
                remove_unused_columns=False,
                dataloader_pin_memory=False,
                disable_tqdm=True,
                report_to="none",
            ),
            stages,
            allow_joint_training=True,
            reuse_features=True,
            train_dataset=task.dataset(split.train, processor),
            eval_dataset=task.dataset(split.validation, processor),
            data_collator=default_data_collator,
            compute_metrics=metrics_on(None),
        )
        trainer.train()
    return trainer


def measure(column: str) -> dict[str, np.ndarray]:
    """Validation accuracy by epoch of every way, `[seeds, epochs]`; prints the means."""
    task = read_image_task(PETS, column)
    curves = {}
    for way, stages in WAYS.items():
        trainers = [train(task, stages, seed) for seed in SEEDS]
        logs = [
            [e["eval_accuracy"] for e in t.state.log_history if "eval_accuracy" in e]
            for t in trainers
        ]
        curves[way] = np.array(logs)
        kept = [[result.best_score for result in t.results] for t in trainers]
        ends = " -> ".join(f"{score:.3f}" for score in np.mean(kept, axis=0))
        epochs = " ".join(f"{score:.3f}" for score in curves[way].mean(0))
        print(f"{column:8} {way:40} kept {ends:16} by epoch {epochs}", flush=True)
    return curves


def draw(path: Path, results: dict[str, dict[str, np.ndarray]]) -> None:
    """Draw the staged curve and the best of the others for each kind of labels."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * len(results), 3.4), layout="constrained")
    for axes, (column, curves) in zip(
        figure.subplots(1, len(results), squeeze=False)[0], results.items(), strict=True
    ):
        staged, *others = curves
        best = max(others, key=lambda way: curves[way].mean(0).max())
        for way in (staged, best):
            mean, std = curves[way].mean(0), curves[way].std(0)
            epochs = np.arange(1, len(mean) + 1)
            axes.plot(epochs, mean, "-o", markersize=3, label=way)
            axes.fill_between(epochs, mean - std, np.minimum(mean + std, 1), alpha=0.15)
        axes.axvline(HEAD.epochs + 0.5, color="0.6", linewidth=1)
        axes.set(xlabel="epoch", ylabel="validation accuracy", title=f"pets by {column}")
        axes.legend(fontsize=7, loc="lower right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def main() -> None:
    """Measure every way on each kind of labels."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--labels", nargs="+", default=["species", "breed"])
    parser.add_argument("--picture", type=Path, help="where to draw the curves")
    options = parser.parse_args()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    results = {column: measure(column) for column in options.labels}
    if options.picture:
        draw(options.picture, results)


if __name__ == "__main__":
    main()
