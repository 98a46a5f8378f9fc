"""Rates on one thread: mails tokenised and aligned and run through a frozen encoder, and photos.

What `docs/cluster.md` extrapolates from. The shipped mails and photos are gone through again and
again until the time is up; each rate is the best of several runs. Time is that of the processor, so
that what else runs on the machine counts little.

    pip install 'nlp-transfer[vision,assets]'
    OMP_NUM_THREADS=1 python benchmarks/rates.py [--seconds 5] [--runs 3]
"""

import argparse
import platform
import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice

import torch
from contest import processor_name
from transformers import DataCollatorWithPadding, default_data_collator

from nlp_transfer import align, build_vocabulary, open_vectors
from nlp_transfer.encoder_classifier import load_encoder_classifier
from nlp_transfer.text_task import LabelledTexts, read_task
from staged_training.features.extraction import compute_features
from staged_training.recipe import RECIPES
from staged_training.runtime.photos import load_rgb
from vision_transfer.backbones import load_backbone
from vision_transfer.image_task import ImageDataset

Work = Callable[[int], object]


def rate(work: Work, seconds: float, runs: int, at_once: int) -> float:
    """Items in a second of processor time, where so many are worked through in one go."""
    best = 0.0
    for _ in range(runs):
        done, start = 0, time.process_time()
        while (spent := time.process_time() - start) < seconds:
            work(at_once)
            done += at_once
        best = max(best, done / spent)
    return best


def of_texts() -> Iterator[tuple[str, Work, int]]:
    """Yield the name of each kind of work on mails, the work, and how many mails it takes."""
    task = read_task(RECIPES / "data" / "email_urgency" / "messages.parquet")
    texts = task.all.texts
    tokenizer = build_vocabulary(texts)
    model, pieces = load_encoder_classifier("bert", task.names, seed=0)
    yield "mails/s, vocabulary", lambda n: build_vocabulary(islice(cycle(texts), n)), 20_000
    yield "mails/s, tokenised into words", lambda n: tokenizer(list(islice(cycle(texts), n))), 2_000
    yield "mails/s, tokenised into pieces", lambda n: pieces(list(islice(cycle(texts), n))), 2_000
    mails = LabelledTexts(texts, task.all.labels).tokenized(pieces)
    collate = DataCollatorWithPadding(pieces)
    features = compute_features(model, mails, collate).columns["features"]
    print(f"{len(texts):8,} mails, {features.nbytes / len(texts):,.0f} bytes of features each")
    yield "mails/s, features", lambda n: compute_features(model, mails, collate), len(texts)
    words = len(tokenizer)
    vectors = open_vectors("glove-6b-50d")
    yield "words/s, aligned to glove-6b-50d", lambda n: align(tokenizer, vectors), words


def of_photos() -> Iterator[tuple[str, Work, int]]:
    """The same of photos."""
    photos = sorted((RECIPES / "data" / "pets" / "images").glob("*.jpg"))
    model, processor = load_backbone("efficientnet-lite0", ["cat", "dog"])
    size = sum(photo.stat().st_size for photo in photos) / len(photos)
    print(f"{len(photos):8,} photos, {size:,.0f} bytes each")
    data = ImageDataset(photos[:64], [0] * 64, processor)
    pixels = torch.stack([data[row]["pixel_values"] for row in range(64)])
    prepared = [{"pixel_values": each} for each in pixels]
    features = compute_features(model, prepared, default_data_collator).columns["features"]
    print(f"{'':9}{features.nbytes / len(features):,.0f} bytes of features each")
    yield "photos/s, decoded", lambda n: [load_rgb(photo) for photo in photos[:n]], 64
    yield "photos/s, decoded and prepared", lambda n: [data[row] for row in range(n)], 64
    yield (
        "photos/s, features of prepared",
        lambda n: compute_features(model, prepared, default_data_collator),
        64,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="of each run")
    parser.add_argument("--runs", type=int, default=3, help="the best counts")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{platform.machine()}, {processor_name()}, {torch.get_num_threads()} thread")
    for of_kind in (of_texts, of_photos):
        for name, work, at_once in of_kind():
            found = rate(work, arguments.seconds, arguments.runs, at_once)
            print(f"{found:10,.0f} {name}", flush=True)


if __name__ == "__main__":
    main()
