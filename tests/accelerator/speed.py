"""A new head on MiniLM, frozen: examples a second, by `Trainer` and on stored features.

python -m tests.accelerator.speed cpu|accelerator fp32|bf16
"""

import sys
import tempfile
import time

EPOCHS, TEXTS = 5, 256


def main(device, precision):
    """Print the speed of both ways, a line each."""
    import pandas as pd
    from datasets import Dataset
    from transformers import Trainer, TrainingArguments

    from nlp_transfer.encoder_classifier import load_encoder_classifier
    from recipes.email_urgency import DATA
    from staged_training import Stage, StagedTrainer, freeze

    table = pd.read_parquet(DATA / "messages.parquet")[:TEXTS]
    labels = (table["label"] == "urgent").astype(int)
    model, tokenizer = load_encoder_classifier("bert", ["other", "urgent"], seed=0)
    data = Dataset.from_dict(
        {**tokenizer(list(table["text"]), truncation=True, max_length=128), "labels": labels}
    )
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "per_device_train_batch_size": 32,
            "use_cpu": device == "cpu",
            "bf16": precision == "bf16",
            "dataloader_pin_memory": device != "cpu",
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
        }
        common = {"train_dataset": data, "processing_class": tokenizer}
        freeze(model, "backbone")
        as_ever = TrainingArguments(f"{folder}/plain", num_train_epochs=EPOCHS, **settings)
        plain = Trainer(model, as_ever, **common)
        in_stages = TrainingArguments(f"{folder}/stages", **settings)
        head = Stage("head", train="head", epochs=EPOCHS, learning_rate=1e-3)
        stored = StagedTrainer(model, in_stages, [head], reuse_features=True, **common)
        for name, trainer in {"plain": plain, "stored": stored}.items():
            start = time.perf_counter()
            trainer.train()
            rate = EPOCHS * len(data) / (time.perf_counter() - start)
            print(f"{name}\t{rate:,.0f}", file=sys.__stdout__, flush=True)


if __name__ == "__main__":
    sys.stdout = sys.stderr  # what trainers print is no result
    main(*sys.argv[1:])
