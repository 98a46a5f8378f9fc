"""From texts to a trained classifier, on more of them than fit into the memory of the process."""

import json
import os
import subprocess
import sys

import numpy as np
import psutil
import pytest

from nlp_transfer import open_vectors

MB = 2**20
LIMIT = 300 * MB
"""What the program may take beyond what it has taken when everything is imported."""

# Mails of four messages each, drawn from the shipped ones. Arguments: a folder, how many mails, and
# whether the whole lot is held in memory.
_PROGRAM = f"""
import json, resource, sys
from pathlib import Path
import numpy as np, pandas, psutil, torch
from datasets import IterableDataset
from transformers import BertConfig, BertModel, TrainerCallback, TrainingArguments
from nlp_transfer import align, build_vocabulary, open_vectors
from nlp_transfer.encoder_classifier import load_encoder_classifier
from nlp_transfer.models import RecurrentConfig, RecurrentForSequenceClassification
from recipes.email_urgency import DATA
from staged_training import Stage, StagedTrainer
from staged_training.features import store

NAMES = ["non-urgent", "urgent"]
folder, count, in_memory = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "in-memory"
resource.setrlimit(resource.RLIMIT_DATA, (psutil.Process().memory_info().data + {LIMIT}, -1))
held = 0

class Watch(TrainerCallback):
    # What the process holds while it trains: not the pages of libraries, of which a run maps 60 MB
    # more or less than the next; of files, those of features alone, which have no name any more.

    def on_step_end(self, args, state, control, **kwargs):
        global held
        if state.global_step % 25:
            return
        own, counts = 0, False
        for line in Path("/proc/self/smaps").read_text().splitlines():
            words = line.split()
            if not words[0].endswith(":"):
                counts = len(words) < 6 or words[5].startswith("[") or words[-1] == "(deleted)"
            elif words[0] == ("Rss:" if counts else "Anonymous:"):
                own += int(words[1]) * 1024
        held = max(held, own)

messages = pandas.read_parquet(DATA / "messages.parquet")
drawn, urgent = list(messages["text"]), list(messages["label"] == "urgent")

def mails(count, seed):
    generator = np.random.default_rng(seed)
    for _ in range(count):
        rows = generator.integers(len(drawn), size=4)
        yield {{
            "text": " ".join(drawn[row] for row in rows),
            "labels": int(any(urgent[row] for row in rows)),
        }}

def stream(count, seed):
    return IterableDataset.from_generator(mails, gen_kwargs={{"count": count, "seed": seed}})

train = stream(count, 0)
texts = (mail["text"] for mail in train)
tokenizer = build_vocabulary(texts)
aligned = align(tokenizer, open_vectors(folder / "vectors.txt"))

def tokenized(data):
    return data.map(
        lambda batch: tokenizer(batch["text"], truncation=True, max_length=128),
        batched=True,
        remove_columns="text",
    )

train, validation = tokenized(train), tokenized(stream(500, 1))
if in_memory:
    train = list(train)
    store.free_memory = lambda: np.inf
losses = []

def learn(model, train_what, **options):
    arguments = TrainingArguments(
        str(folder / type(model).__name__),
        per_device_train_batch_size=32,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    stage = Stage("frozen", train=train_what, epochs=1, learning_rate=3e-3)
    data = {{"train_dataset": train, "eval_dataset": validation, "processing_class": tokenizer}}
    trainer = StagedTrainer(model, arguments, [stage], callbacks=[Watch()], **data, **options)
    trainer.train()
    losses.extend(entry["loss"] for entry in trainer.state.log_history if "loss" in entry)

sizes = dict(hidden_size=32, num_attention_heads=2, num_hidden_layers=1, intermediate_size=32)
BertModel(BertConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(folder / "encoder")
tokenizer.save_pretrained(folder / "encoder")
encoder, _ = load_encoder_classifier(folder / "encoder", NAMES, seed=0, layers=[0, 1])
learn(encoder, "head", reuse_features=True)

config = RecurrentConfig(vocab_size=len(tokenizer), embedding_size=50, hidden_size=4)
recurrent = RecurrentForSequenceClassification(config)
recurrent.load_embedding(torch.from_numpy(aligned.matrix))
learn(recurrent, "backbone[1:], head", pretrained="backbone[0]")
told = {{
    "tokens": sum(len(mail["input_ids"]) for mail in train),
    "held": held,
    "losses": losses,
}}
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("larger-than-memory")
    (folder / "program.py").write_text(_PROGRAM)
    with (folder / "vectors.txt").open("w") as file:
        for number, (word, vector) in enumerate(open_vectors("glove-6b-50d")):
            if number == 50_000:
                break
            file.write(f"{word} {' '.join(map(str, vector))}\n")

    def start(count, kind):
        environment = os.environ | {"OMP_NUM_THREADS": "1", "TMPDIR": str(folder)}
        command = [sys.executable, folder / "program.py", folder, str(count), kind]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    return start


@pytest.mark.slow
@pytest.mark.skipif(not psutil.LINUX, reason="the memory of a process can be limited on Linux")
def test_a_stream_is_learnt_from_in_memory_that_its_features_would_not_fit_into(run):
    few, many = (run(count, "streamed") for count in (5_000, 20_000))
    assert few.returncode == many.returncode == 0, few.stderr + many.stderr
    assert "The frozen layers run in every epoch" not in many.stderr
    few, many = (json.loads(finished.stdout.splitlines()[-1]) for finished in (few, many))
    features = 4 * 64 * many["tokens"]  # bytes: two layers, of 32 numbers each
    assert features > LIMIT
    assert many["held"] - few["held"] < 0.1 * features
    assert np.isfinite(many["losses"]).all()

    refused = run(20_000, "in-memory")
    assert refused.returncode != 0
    assert "MemoryError" in refused.stderr or "can't allocate memory" in refused.stderr
