"""Prediction at size: `nlp-transfer predict --output` of 1,000 to 1,000,000 texts.

The texts are drawn from the shipped messages, with repetition, as rows of a CSV; the model is the
recurrent net on GloVe, with a new head: times do not depend on the weights. What is timed is the
command, from the file of texts to that of predictions; each size runs in a process of its own,
after a few texts that do not count. The exponent is the slope of a line through the logarithms of
size and time: 1 where twice the texts take twice the time. Then the whole command, its start
included, by one process and by two that `torchrun` begins; each process has one thread.

    pip install 'nlp-transfer[assets]'
    python benchmarks/prediction.py [--sizes 1000 10000 100000 1000000] [--shared 200000] [--runs 1]
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

import numpy as np
from contest import PEAK, Section, column, medians, run_benchmark, take_turns
from few_labels import MESSAGES
from growth import drawn, slopes

EXPONENT_AIM, MEMORY_AIM, SHARED_AIM = 1.05, 50, 1.7
SIZES, QUICK_SIZES = (1_000, 10_000, 100_000, 1_000_000), (100, 1_000)
SHARED, QUICK_SHARED = 200_000, 10_000
WARM_UP = 10
PROCESSOR = "processor s"
"""The figure that does not depend on what else the machine does."""
LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone"]


def prepare(folder: Path, sizes: list[int]) -> None:
    """Save the model as a recipe does, and a table of each size."""
    import pandas as pd

    from nlp_transfer import align, build_vocabulary, open_vectors
    from nlp_transfer.models import RecurrentForSequenceClassification
    from nlp_transfer.text_task import read_task

    task = read_task(MESSAGES)
    texts = task.all.texts
    tokenizer = build_vocabulary(texts)
    aligned = align(tokenizer, open_vectors("glove-6b-50d"))
    model = RecurrentForSequenceClassification.from_aligned(aligned, task.names)
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    for size in sizes:
        rows = {"id": range(size), "text": [texts[row] for row in drawn(len(texts), size)]}
        pd.DataFrame(rows).to_csv(folder / f"{size}.csv", index=False)


def compete(contestant: str, arguments) -> dict[str, float]:
    size, _, *processes = contestant.split()
    size = int(size.replace(",", ""))
    command = ["predict", "model", f"{size}.csv", "--output", "predicted.csv"]
    os.chdir(arguments.folder)
    if processes:
        launch = [*LAUNCH, f"--nproc-per-node={processes[0]}", "-m", "transfer_app.command_line"]
        start = time.perf_counter()
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        subprocess.run([*launch, *command], check=True, env=environment, stdout=sys.stderr)
        used = getrusage(RUSAGE_CHILDREN)
        seconds = time.perf_counter() - start
        return {"seconds": seconds, PROCESSOR: used.ru_utime + used.ru_stime}

    from transfer_app.command_line import main

    assert main(["predict", "model", f"{WARM_UP}.csv", "--output", "warm.csv"]) == 0
    start, used = time.perf_counter(), time.process_time()
    assert main(command) == 0
    return {"seconds": time.perf_counter() - start, PROCESSOR: time.process_time() - used}


def measure(arguments) -> Section:
    sizes = arguments.sizes or (QUICK_SIZES if arguments.quick else SIZES)
    shared = arguments.shared or (QUICK_SHARED if arguments.quick else SHARED)
    names = [f"{size:,} texts" for size in sizes]
    both = [f"{shared:,} texts, {count} process{'es' * (count > 1)}" for count in (1, 2)]
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), sorted({WARM_UP, shared, *sizes}))
        results = take_turns(__file__, [*names, *both], arguments.runs, "--folder", folder)
    section = Section(__doc__, results)
    found = [medians(results, name) for name in names]
    exponent, least, most = slopes(np.array(sizes), np.array([f["seconds"] for f in found]))
    target = f"time grows by an exponent of at most {EXPONENT_AIM} "
    target += f"({exponent:.3f}; {least:.2f} to {most:.2f} between two sizes)"
    section.targets[target] = exponent <= EXPONENT_AIM
    peaks = [figures[PEAK] for figures in found]
    target = f"the peaks of memory lie within {MEMORY_AIM} MB of each other "
    target += f"({min(peaks):,.0f} to {max(peaks):,.0f} MB)"
    section.targets[target] = max(peaks) - min(peaks) <= MEMORY_AIM
    one, two = (np.array(column(results, name, "seconds")) for name in both)
    faster = float(np.median(one / two))
    target = f"two processes are {SHARED_AIM} times as fast as one ({faster:.2f})"
    section.targets[target] = faster >= SHARED_AIM
    return section


def add_options(parser) -> None:
    parser.add_argument("--sizes", type=int, nargs="+", help="how many texts")
    parser.add_argument("--shared", type=int, help="how many texts one and two processes take")
    parser.add_argument("--folder", help="where the model and the texts are")


if __name__ == "__main__":
    sys.exit(run_benchmark(__doc__, compete, measure, add_options, runs=1))
