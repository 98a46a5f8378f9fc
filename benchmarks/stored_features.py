"""Training on stored features of frozen layers, against `Trainer` on the same frozen layers.

Three models, batches of 32, a validation after each epoch: a new head on MiniLM that says of every
token of 400 mails whether it is a number, is capitalised or neither (labels by rule: nobody needs
what it learns, but it takes what any such task takes); a Llama of 35 million random weights with a
new head that tells the urgent ones of these mails; and a ViT-tiny of random weights that tells cats
from dogs on 296 photos, whose two top blocks are trained with the head.

Both contestants have the same model, data and random numbers. The time of a run is that of the
training, with all that goes before it but for the tokens of texts. What the trained model predicts
of its validation data, outside of that time, must be the same.

    pip install 'nlp-transfer[assets]'
    python benchmarks/stored_features.py [--tasks tokens decoder vision] [--epochs 5] [--runs 3]
"""

import argparse
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from contest import Section, medians, run_benchmark, take_turns, time_and_memory
from frozen_encoder import CONTESTANTS, MESSAGES
from pets import PETS, training_arguments

SAME = 1e-4
"""The most by which logits differ that are the same but for rounding."""


def mails(quick: bool):
    """The names of the labels, and one mail in four to train on and, of fold 0, to validate on."""
    from nlp_transfer.text_task import read_task

    task = read_task(MESSAGES)
    rows = (
        np.flatnonzero(part)[:: 32 if quick else 4] for part in (task.folds != 0, task.folds == 0)
    )
    return task.names, *map(task.all.select, rows)


def tokens(quick: bool):
    """A new head for tokens on a frozen MiniLM."""
    from datasets import Dataset
    from transformers import (
        AutoModelForTokenClassification,
        AutoTokenizer,
        DataCollatorForTokenClassification,
    )

    from nlp_transfer.encoder_classifier import packaged_encoder
    from staged_training import freeze

    def label(piece: str) -> int:
        return -100 if not piece else 1 if piece.isdigit() else 2 if piece[0].isupper() else 0

    def labelled(mails) -> Dataset:
        columns = tokenizer(mails.texts, truncation=True, return_offsets_mapping=True)
        offsets = columns.pop("offset_mapping")
        labels = [
            [label(text[start:end]) for start, end in own]
            for text, own in zip(mails.texts, offsets, strict=True)
        ]
        return Dataset.from_dict({**columns, "labels": labels})

    path = str(packaged_encoder("bert"))
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForTokenClassification.from_pretrained(path, num_labels=3)
    freeze(model, "backbone")
    _, *parts = mails(quick)
    return model, *map(labelled, parts), DataCollatorForTokenClassification(tokenizer)


def decoder(quick: bool):
    """A new head for texts on a frozen Llama."""
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        LlamaConfig,
    )

    from nlp_transfer.encoder_classifier import packaged_encoder
    from staged_training import freeze

    names, *parts = mails(quick)
    tokenizer = AutoTokenizer.from_pretrained(str(packaged_encoder("bert")))
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=512,
        intermediate_size=1376,
        num_hidden_layers=6,
        num_attention_heads=8,
        pad_token_id=tokenizer.pad_token_id,
        num_labels=len(names),
    )
    model = AutoModelForSequenceClassification.from_config(config)
    freeze(model, "backbone")
    data = (part.tokenized(tokenizer) for part in parts)
    return model, *data, DataCollatorWithPadding(tokenizer)


def vision(quick: bool):
    """The two top blocks and the head of a ViT-tiny."""
    from transformers import default_data_collator

    from staged_training import freeze
    from vision_transfer.backbones import untrained_backbone
    from vision_transfer.image_task import read_image_task

    task = read_image_task(PETS, "species")
    model, processor = untrained_backbone("vit_tiny_patch16_224", task.names, 224)
    freeze(model, "backbone[:-2]")
    data = (
        task.dataset(np.flatnonzero(part)[:: 12 if quick else 1], processor)
        for part in (task.folds != 0, task.folds == 0)
    )
    return model, *data, default_data_collator


TASKS = {
    "tokens": (tokens, "token head on a frozen MiniLM", 5),
    "decoder": (decoder, "sequence head on a frozen Llama", 6),
    "vision": (vision, "two blocks and head of a ViT-tiny", 2),
}
"""What makes the model and the data, what is trained, and the aim: how many times as fast."""


def compete(contestant: str, arguments) -> dict[str, float]:
    """Train, and write what the model predicts then; the time, and the loss of that."""
    from transformers import Trainer, set_seed

    from staged_training import on_features

    (task,) = arguments.tasks
    set_seed(0)
    model, train, validation, collate = TASKS[task][0](arguments.quick)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        training = training_arguments(
            folder, num_train_epochs=arguments.epochs, learning_rate=1e-3, eval_strategy="epoch"
        )
        data = {"train_dataset": train, "eval_dataset": validation}
        trainer = Trainer(model, training, data_collator=collate, **data)
        with on_features(trainer) if contestant == "toolkit" else nullcontext():
            trainer.train()
        seconds = time.perf_counter() - start
        logits, _, metrics = trainer.predict(validation)
    np.save(arguments.predictions / f"{contestant}-{arguments.round}.npy", logits)
    return {"seconds": seconds, "loss": metrics["test_loss"]}


def measure(arguments) -> Section:
    section = Section(__doc__, {})
    for task in arguments.tasks:
        _, what, target = TASKS[task]
        with tempfile.TemporaryDirectory() as folder:
            extra = ["--predictions", folder, "--tasks", task]
            results = take_turns(__file__, CONTESTANTS, arguments.runs, *extra)
            logits = [
                np.stack([np.load(f"{folder}/{name}-{n}.npy") for n in range(arguments.runs)])
                for name in CONTESTANTS
            ]
        difference = np.abs(logits[0] - logits[1]).max()
        own, peer = (medians(results, name)["seconds"] for name in CONTESTANTS)
        section.results |= {f"{task}: {name}": rounds for name, rounds in results.items()}
        section.rows += time_and_memory(results, ["Trainer"], f"{what}, {arguments.epochs} epochs")
        section.targets |= {
            f"{what}: at least {target}x as fast as Trainer": peer >= target * own,
            f"{what}: the same predictions": bool(difference <= SAME),
        }
        section.notes.append(f"{what}: logits differ by {difference:.0e} at most.")
    return section


def options(parser) -> None:
    parser.add_argument("--epochs", type=int, default=5, help="epochs of each contestant")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=[*TASKS], help="which tasks")
    parser.add_argument("--predictions", type=Path, help=argparse.SUPPRESS)


if __name__ == "__main__":
    sys.exit(run_benchmark(__doc__, compete, measure, options))
