"""One mail or one photo at a time, against ONNX Runtime on the exported file, and PyTorch.

The recurrent net on GloVe, MiniLM with its convolutional head, and EfficientNet-Lite0, with heads
as new as their recipes make them: times do not depend on the weights. The toolkit is what `serve`
and `watch` open, `open_classifier`; ONNX Runtime alone runs what `nlp-transfer export` writes, on
what the model's tokenizer or processor of `transformers` makes of the input; the pipeline is the
one that `nlp-transfer predict` opens. A time is that of one call, from the text or the file to the
scores, over other messages or photos in turn, after a warm-up; p50 and p99 are of all calls.

    pip install 'nlp-transfer[vision,assets,onnx]'
    python benchmarks/latency.py [--calls 300] [--runs 3]
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from contest import Section, compared, run_benchmark, take_turns
from few_labels import MESSAGES
from pets import PETS

WARM_UP = 10
MODELS = ("mail, recurrent net", "mail, MiniLM", "photo")
OWN, *PEERS = RUNTIMES = "toolkit", "ONNX Runtime", "PyTorch"


def save_models(folder: Path) -> None:
    """Save the models as recipes do, and export them."""
    from nlp_transfer import align, build_vocabulary, open_vectors
    from nlp_transfer.encoder_classifier import load_encoder_classifier
    from nlp_transfer.models import RecurrentForSequenceClassification
    from nlp_transfer.text_task import read_task
    from transfer_app.export import export
    from vision_transfer.backbones import load_backbone
    from vision_transfer.image_task import read_image_task

    task = read_task(MESSAGES)
    tokenizer = build_vocabulary(task.all.texts)
    matrix = align(tokenizer, open_vectors("glove-6b-50d")).matrix
    made = [
        (RecurrentForSequenceClassification.from_aligned(matrix, task.names), tokenizer),
        load_encoder_classifier("bert", task.names, 0),
        load_backbone("efficientnet-lite0", read_image_task(PETS, "species").names),
    ]
    for name, (model, processing) in zip(MODELS, made, strict=True):
        model.save_pretrained(folder / name)
        processing.save_pretrained(folder / name)
        export(str(folder / name), None)


def caller(model: Path, runtime: str) -> Callable[[str], object]:
    """What classifies a text or the photo of a file."""
    from staged_training.runtime.photos import load_rgb
    from transfer_app.prediction.inputs import Input
    from transfer_app.prediction.onnx_classifier import open_classifier
    from transfer_app.prediction.opening import open_predictor

    threads = int(os.environ.get("OMP_NUM_THREADS", "0"))
    if runtime == OWN:
        own = open_classifier(str(model), threads)
        if own.task == "image-classification":
            return lambda file: list(own.predict([Input(file, load_rgb(Path(file)))]))
        return lambda text: list(own.predict([Input("mail", text)]))
    classifier = open_predictor(str(model)).pipeline
    is_photo = classifier.task == "image-classification"
    if runtime == "PyTorch":
        if is_photo:
            return lambda file: classifier(load_rgb(Path(file)), top_k=2)
        return lambda text: classifier(text, truncation=True)

    from staged_training.runtime.onnx import onnx_runtime

    onnxruntime = onnx_runtime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model / "model.onnx", options)
    names = [item.name for item in session.get_inputs()]

    def run(content: str) -> object:
        if is_photo:
            inputs = classifier.image_processor(load_rgb(Path(content)), return_tensors="pt")
        else:
            inputs = classifier.tokenizer([content], return_tensors="np", truncation=True)
        return session.run(None, {name: np.asarray(inputs[name]) for name in names})

    return run


def compete(contestant: str, arguments) -> dict[str, float]:
    import pandas as pd

    name, runtime = contestant.rsplit(", ", 1)
    calls = 20 if arguments.quick else arguments.calls
    if name == "photo":
        contents = list(map(str, sorted((PETS / "images").glob("*.jpg"))))
    else:
        contents = pd.read_parquet(MESSAGES)["text"].tolist()
    call = caller(Path(arguments.folder) / name, runtime)
    milliseconds = []
    for number in range(WARM_UP + calls):
        start = time.perf_counter()
        call(contents[number % len(contents)])
        milliseconds.append(1000 * (time.perf_counter() - start))
    p50, p99 = np.percentile(milliseconds[WARM_UP:], [50, 99])
    return {"p50 ms": float(p50), "p99 ms": float(p99)}


def measure(arguments) -> Section:
    contestants = [f"{name}, {runtime}" for name in MODELS for runtime in RUNTIMES]
    with tempfile.TemporaryDirectory() as folder:
        save_models(Path(folder))
        results = take_turns(__file__, contestants, arguments.runs, "--folder", folder)
    rows = []
    for name in MODELS:
        own, *peers = (f"{name}, {runtime}" for runtime in RUNTIMES)
        for figure in ("p50 ms", "p99 ms"):
            rows += compared(results, figure, peers, f"one {name}: {figure[:3]}", "ms", own=own)
    return Section(__doc__, results, rows)


def options(parser) -> None:
    parser.add_argument("--calls", type=int, default=300, help="calls that are timed")
    parser.add_argument("--folder", help="of the models")


if __name__ == "__main__":
    sys.exit(run_benchmark(__doc__, compete, measure, options))
