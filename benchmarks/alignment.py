"""Aligning a task vocabulary to GloVe text, against gensim and against reading the file's bytes.

A vocabulary of 20,000 words (19,000 of GloVe's own and 1,000 that it does not know) is aligned to a
text of 400,000 x 50, which is written from the assets package first. Each contestant runs in a
process of its own, in turn; its best time counts. Memory is what a process peaks at above what it
held after its imports. Rows that the toolkit and gensim find are compared number by number.

    python benchmarks/alignment.py [--runs 5]
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

KNOWN, UNKNOWN = 19_000, 1_000
TARGETS = {"gensim": 30, "read": 6, "MB": 64}


def align_with_toolkit(vectors: Path, words: list[str]) -> np.ndarray:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    from nlp_transfer import align, open_vectors

    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", *words])}
    model = models.WordLevel(vocabulary, unk_token="[UNK]")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(model), pad_token="[PAD]", unk_token="[UNK]"
    )
    start_measuring()
    return align(tokenizer, open_vectors(vectors)).matrix[2:]


def align_with_gensim(vectors: Path, words: list[str]) -> np.ndarray:
    from gensim.models import KeyedVectors

    start_measuring()
    loaded = KeyedVectors.load_word2vec_format(str(vectors), no_header=True)
    matrix = np.zeros((len(words), loaded.vector_size), np.float32)
    for row, word in enumerate(words):
        if word in loaded:
            matrix[row] = loaded[word]
    return matrix


def read_whole(vectors: Path, words: list[str]) -> None:
    start_measuring()
    vectors.read_bytes()


def read_streamed(vectors: Path, words: list[str]) -> None:
    start_measuring()
    buffer = bytearray(2**20)
    with vectors.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


CONTESTANTS = {
    "toolkit": align_with_toolkit,
    "gensim": align_with_gensim,
    "read": read_whole,
    "read, streamed": read_streamed,
}
started: dict[str, float] = {}


def start_measuring() -> None:
    started.update(memory=_peak_memory(), time=time.perf_counter())


def _peak_memory() -> float:
    """MB that this process has held at most. (`ru_maxrss` would count its parent's too.)"""
    (line,) = (x for x in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in x)
    return int(line.split()[1]) / 1024


def compete(contestant: str, folder: Path) -> None:
    """Run one contestant in this process and print what it took."""
    words = json.loads((folder / "words.json").read_text())
    matrix = CONTESTANTS[contestant](folder / "glove.txt", words)
    seconds = time.perf_counter() - started["time"]
    if matrix is not None:
        np.save(folder / f"{contestant}.npy", matrix[:KNOWN])
    print(json.dumps({"seconds": seconds, "MB": _peak_memory() - started["memory"]}))


def prepare(folder: Path) -> None:
    """Write the vectors and the words of the vocabulary."""
    from nlp_transfer import open_vectors
    from nlp_transfer.word_vectors import save_vectors

    words, rows = zip(*open_vectors("glove-6b-50d"), strict=True)
    save_vectors(folder / "glove.txt", words, np.stack(rows))
    known = random.Random(0).sample(words, KNOWN)
    task = known + [f"zzq{number}" for number in range(UNKNOWN)]
    (folder / "words.json").write_text(json.dumps(task))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5, help="how often each contestant runs")
    parser.add_argument("--contestant", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contestant:
        compete(arguments.contestant[0], Path(arguments.contestant[1]))
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        results: dict[str, list[dict[str, float]]] = {contestant: [] for contestant in CONTESTANTS}
        for _ in range(arguments.runs):
            for contestant, measured in results.items():
                command = [sys.executable, __file__, "--contestant", contestant, name]
                output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                measured.append(json.loads(output))
        matrices = [np.load(folder / f"{contestant}.npy") for contestant in ("toolkit", "gensim")]
    return report(results, matrices)


def report(results: dict[str, list[dict[str, float]]], matrices: list[np.ndarray]) -> int:
    """Print the figures; 1 if a target is missed."""
    best = {c: min(run["seconds"] for run in runs) for c, runs in results.items()}
    memory = {c: max(run["MB"] for run in runs) for c, runs in results.items()}
    print(f"{'':16}{'seconds':>10}{'to toolkit':>12}{'peak MB':>10}")
    for contestant, seconds in best.items():
        ratio = seconds / best["toolkit"]
        print(f"{contestant:16}{seconds:10.3f}{ratio:11.2f}x{memory[contestant]:10.1f}")
    embedding = (KNOWN + UNKNOWN + 2) * matrices[0].shape[1] * 4 / 2**20
    held = {
        f"at least {TARGETS['gensim']}x as fast as gensim": (
            best["gensim"] / best["toolkit"] >= TARGETS["gensim"]
        ),
        f"within {TARGETS['read']}x of reading the bytes": (
            best["toolkit"] / best["read"] <= TARGETS["read"]
        ),
        f"peak memory below {TARGETS['MB']} MB + E_T ({embedding:.1f} MB)": (
            memory["toolkit"] < TARGETS["MB"] + embedding
        ),
        "the same rows as gensim": np.array_equal(*matrices),
    }
    for target, holds in held.items():
        print(f"{'holds ' if holds else 'MISSED'}  {target}")
    print(
        f"(of the read through one 1 MiB buffer: {best['toolkit'] / best['read, streamed']:.1f}x)"
    )
    return 0 if all(held.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
