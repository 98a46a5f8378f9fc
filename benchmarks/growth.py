"""Growth: what ten times as many texts or photos cost, from 1,000 to 100,000 and 100 to 10,000.

The texts and photos are drawn from the shipped ones, with repetition. For texts the time is that of
building a vocabulary, aligning it to GloVe, tokenising, and passing all of them through the
recurrent net up to its head; for photos that of their features by EfficientNet-Lite0, from the
files on. Each size runs in a process of its own, after a few texts or photos that do not count. The
exponent is the slope of a line through the logarithms of size and time: 1 where twice the data take
twice the time. Beside it stand the least and the greatest slope between two sizes that follow one
another. (What every size pays alike, as for reading GloVe, makes the slope smaller at the lower
end.) For memory it reports what each further text or photo adds to the peak.

    pip install 'nlp-transfer[vision,assets]'
    python benchmarks/growth.py [--runs 1]
"""

import sys
import time

import numpy as np
from contest import PEAK, Rounds, Section, medians, run_benchmark, take_turns
from feature_extraction import Stopwatch
from few_labels import MESSAGES
from pets import PETS

AIM = 1.05
SIZES = {"texts": (1_000, 10_000, 30_000, 100_000), "photos": (100, 1_000, 10_000)}
QUICK_SIZES = {"texts": (100, 1_000), "photos": (10, 30)}


def drawn(shipped: int, size: int) -> list[int]:
    """Rows of the shipped data, with repetition."""
    return np.random.default_rng(0).integers(shipped, size=size).tolist()


def grow_texts(size: int) -> dict[str, float]:
    """The seconds that texts take, by what is done with them."""
    from transformers import DataCollatorWithPadding

    from nlp_transfer import align, build_vocabulary, open_vectors
    from nlp_transfer.models import RecurrentForSequenceClassification
    from nlp_transfer.text_task import read_task
    from staged_training.features.extraction import compute_features

    task = read_task(MESSAGES)
    texts = task.all.select(drawn(len(task.folds), size))
    watch = Stopwatch()
    tokenizer = watch.around("vocabulary", build_vocabulary)(texts.texts)
    aligned = watch.around("alignment", align)(tokenizer, open_vectors("glove-6b-50d"))
    rows = watch.around("tokenising", texts.tokenized)(tokenizer)
    model = RecurrentForSequenceClassification.from_aligned(aligned, task.names)
    watch.around("forward", compute_features)(model, rows, DataCollatorWithPadding(tokenizer))
    return dict(watch.seconds)


def grow_photos(size: int) -> dict[str, float]:
    """The seconds that the features of photos take."""
    from transformers import default_data_collator

    from staged_training.features.extraction import compute_features
    from vision_transfer.backbones import load_backbone
    from vision_transfer.image_task import read_image_task

    task = read_image_task(PETS, "species")
    model, processor = load_backbone("efficientnet-lite0", task.names)
    dataset = task.dataset(drawn(len(task.paths), size), processor)
    start = time.perf_counter()
    compute_features(model, dataset, default_data_collator)
    return {"forward": time.perf_counter() - start}


WAYS = {"texts": grow_texts, "photos": grow_photos}
WARM_UP = 10


def compete(contestant: str, arguments) -> dict[str, float]:
    size, what = contestant.split()
    WAYS[what](WARM_UP)
    parts = WAYS[what](int(size.replace(",", "")))
    return {"seconds": sum(parts.values())} | parts


def slopes(sizes: np.ndarray, figures: np.ndarray) -> tuple[float, float, float]:
    """The exponent by which a figure grows; the least and the greatest between two sizes."""
    x, y = np.log(sizes), np.log(figures)
    steps = np.diff(y) / np.diff(x)
    return float(np.polyfit(x, y, 1)[0]), float(steps.min()), float(steps.max())


def growth_of(what: str, sizes: tuple[int, ...], results: Rounds) -> tuple[str, bool, str]:
    """The aim, whether it is met, and what else there is to tell."""
    found = [medians(results, f"{size:,} {what}") for size in sizes]
    exponent, least, most = slopes(np.array(sizes), np.array([f["seconds"] for f in found]))
    target = f"{what}: time grows by an exponent of at most {AIM} "
    target += f"({exponent:.3f}; {least:.2f} to {most:.2f} between two sizes)"
    added = (found[-1][PEAK] - found[0][PEAK]) / (sizes[-1] - sizes[0]) * 1024
    memory, _, _ = slopes(np.array(sizes), np.array([f[PEAK] for f in found]))
    note = f"Of {what}, each further one adds {added:.1f} kB to the peak of memory, which grows "
    note += f"from {found[0][PEAK]:,.0f} to {found[-1][PEAK]:,.0f} MB, by an exponent of "
    return target, exponent <= AIM, f"{note}{memory:.2f}."


def measure(arguments) -> Section:
    all_sizes = QUICK_SIZES if arguments.quick else SIZES
    names = [f"{size:,} {what}" for what, sizes in all_sizes.items() for size in sizes]
    results = take_turns(__file__, names, arguments.runs)
    section = Section(__doc__, results)
    for what, sizes in all_sizes.items():
        target, met, note = growth_of(what, sizes, results)
        section.targets[target] = met
        section.notes.append(note)
    return section


if __name__ == "__main__":
    sys.exit(run_benchmark(__doc__, compete, measure, runs=1))
