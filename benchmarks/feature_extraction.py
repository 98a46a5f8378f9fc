"""Computing features once, against the physical floor: a bare loop over tensors held ready.

All 370 photos of the shipped pets through EfficientNet-Lite0, and the 2,000 messages of the shipped
mails through MiniLM up to the middle layer. The toolkit's `compute_features` reads, decodes and
prepares the photos, or tokenizes the texts, which counts; the bare loop runs the plain model under
`torch.inference_mode` over batches of the same size that were prepared before its time began, and
so cannot be had by anyone who starts from files. Texts end for both at the tokens that MiniLM reads
at once. `forward` is the time in the base's own forward pass; `decode` and `transform` (or
`tokenize`) are that of the threads that do it; `wait` is all that is not forward. The toolkit may
beat the floor: it folds BatchNorm into the convolutions first, and lets OpenVINO or ONNX Runtime
run them where that is faster, once the base is written for it, which `set up` counts. `by PyTorch`
is the toolkit without these libraries. `share of peak` is what the forward pass gets of the speed
at which PyTorch multiplies two square matrices of 2,048 on the same threads.

    pip install 'nlp-transfer[vision,assets,openvino]'
    python benchmarks/feature_extraction.py [--runs 3]
"""

import sys
import time
from collections import Counter
from collections.abc import Callable
from statistics import median
from threading import Lock

import numpy as np
from contest import Section, column, run_benchmark, take_turns, time_and_memory
from few_labels import MESSAGES
from pets import PETS

AIM, GAIN = 0.85, 2
SIDE = 2048


class Stopwatch:
    """Adds up the seconds that calls take, by name; threads may call at the same time."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.lock = Lock()

    def around(self, name: str, call: Callable) -> Callable:
        """The same call, timed."""

        def timed(*arguments, **named):
            start = time.perf_counter()
            try:
                return call(*arguments, **named)
            finally:
                with self.lock:
                    self.seconds[name] += time.perf_counter() - start

        return timed


def photos(quick: bool):
    """The model and the photos."""
    from vision_transfer.backbones import load_backbone
    from vision_transfer.image_task import read_image_task

    task = read_image_task(PETS, "species")
    model, processor = load_backbone("efficientnet-lite0", task.names)
    return model.eval(), task.dataset(range(16 if quick else len(task.paths)), processor)


def mails(quick: bool):
    """The model, its tokenizer and the texts."""
    from nlp_transfer.encoder_classifier import load_encoder_classifier
    from nlp_transfer.text_task import read_task

    task = read_task(MESSAGES)
    model, tokenizer = load_encoder_classifier("bert", task.names, seed=0)
    tokenizer.model_max_length = model.config.window
    return model.eval(), tokenizer, task.all.select(range(100 if quick else len(task.folds)))


def photos_by_toolkit(quick: bool) -> dict[str, float]:
    from transformers import default_data_collator

    from staged_training.features import compiled, extraction
    from vision_transfer import image_task

    model, dataset = photos(quick)
    operations = len(dataset) * compiled.operations(model, default_data_collator([dataset[0]]))
    watch = Stopwatch()
    image_task.load_rgb = watch.around("decode", image_task.load_rgb)
    dataset.processor = watch.around("transform", dataset.processor)
    watch_forward(watch)
    start = time.perf_counter()
    extraction.compute_features(model, dataset, default_data_collator)
    return shares(watch, time.perf_counter() - start, operations)


def photos_by_pytorch(quick: bool) -> dict[str, float]:
    from staged_training.features import compiled

    compiled._LEAST_OPERATIONS = float("inf")
    return photos_by_toolkit(quick)


def mails_by_toolkit(quick: bool) -> dict[str, float]:
    import datasets  # noqa: F401  (importing it counts for nobody)
    import torch
    from transformers import DataCollatorWithPadding

    from staged_training.features import compiled, extraction

    model, tokenizer, texts = mails(quick)
    collate = DataCollatorWithPadding(tokenizer)
    lengths = Counter(map(len, tokenizer(texts.texts, truncation=True)["input_ids"]))
    operations = sum(
        count * compiled.operations(model.encoder, {"input_ids": torch.ones(1, length).long()})
        for length, count in lengths.items()
    )
    watch = Stopwatch()
    watch_forward(watch)
    start = time.perf_counter()
    rows = watch.around("tokenize", texts.tokenized)(tokenizer)
    extraction.compute_features(model, rows, collate)
    return shares(watch, time.perf_counter() - start, operations)


def watch_forward(watch: Stopwatch) -> None:
    """Time whatever runs the base, and what it takes to choose and set it up."""
    from staged_training.features import extraction

    choose = watch.around("set up", extraction.fastest)

    def watched(*given):
        chosen = choose(*given)
        chosen.forward = watch.around("forward", chosen.forward)
        return chosen

    extraction.fastest = watched


def peak() -> float:
    """Multiplications and additions of a product of matrices, a second."""
    import torch

    matrix = torch.rand(SIDE, SIDE)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        matrix @ matrix
        times.append(time.perf_counter() - start)
    return 2 * SIDE**3 / min(times)


def shares(watch: Stopwatch, seconds: float, operations: int) -> dict[str, float]:
    forward = watch.seconds["forward"]
    told = {"seconds": seconds, "forward": forward, "wait": seconds - forward}
    shares = {"share of forward": forward / seconds, "share of peak": operations / forward / peak()}
    return told | dict(watch.seconds) | shares


def photos_by_loop(quick: bool) -> dict[str, float]:
    import torch

    model, dataset = photos(quick)
    pixels = torch.stack([item["pixel_values"] for item in dataset])
    batches = [part.contiguous(memory_format=torch.channels_last) for part in pixels.split(8)]
    return timed_loop(lambda batch: model(pixel_values=batch), batches)


def mails_by_loop(quick: bool) -> dict[str, float]:
    model, tokenizer, texts = mails(quick)
    ids = tokenizer(texts.texts, truncation=True)["input_ids"]
    order = np.argsort([len(row) for row in ids], kind="stable")
    batches = [
        tokenizer.pad(
            {"input_ids": [ids[i] for i in order[start : start + 32]]}, return_tensors="pt"
        )
        for start in range(0, len(order), 32)
    ]
    names = ("input_ids", "attention_mask")
    batches = [{name: batch[name] for name in names} for batch in batches]
    return timed_loop(lambda batch: model.encoder(**batch, output_hidden_states=True), batches)


def timed_loop(forward: Callable, batches: list) -> dict[str, float]:
    import torch

    with torch.inference_mode():
        start = time.perf_counter()
        for batch in batches:
            forward(batch)
        seconds = time.perf_counter() - start
    return {"seconds": seconds, "forward": seconds}


CONTESTANTS = {
    "photos, toolkit": photos_by_toolkit,
    "photos, by PyTorch": photos_by_pytorch,
    "photos, bare loop": photos_by_loop,
    "mails, toolkit": mails_by_toolkit,
    "mails, bare loop": mails_by_loop,
}


def compete(contestant: str, arguments) -> dict[str, float]:
    return CONTESTANTS[contestant](arguments.quick)


def measure(arguments) -> Section:
    results = take_turns(__file__, CONTESTANTS, arguments.runs)
    rows, targets = [], {}
    for what in ("photos", "mails"):
        own, peer = f"{what}, toolkit", f"{what}, bare loop"
        rows += time_and_memory(results, [peer], f"features of {what}, from files", own=own)
        share = median(column(results, own, "share of forward"))
        target = f"{what}: at least {AIM:.0%} of the wall time in the base's forward ({share:.0%})"
        targets[target] = share >= AIM
    rows += time_and_memory(results, ["photos, by PyTorch"], "the same", own="photos, toolkit")
    forward = [column(results, f"photos, {way}", "forward") for way in ("by PyTorch", "toolkit")]
    gain = float(median(np.divide(*forward)))
    targets[f"photos: forward {GAIN}x as fast as by PyTorch ({gain:.2f}x)"] = gain >= GAIN
    return Section(__doc__, results, rows, targets)


if __name__ == "__main__":
    sys.exit(run_benchmark(__doc__, compete, measure))
