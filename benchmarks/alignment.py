"""Aligning a task vocabulary to GloVe text, against gensim and against reading the file's bytes.

A vocabulary of 20,000 words (19,000 of GloVe's own and 1,000 that it does not know) is aligned to a
text of 400,000 x 50, which is written from the assets package first. `MB above imports` is what a
process peaks at above what it held when it began. Rows that the toolkit and gensim find are
compared number by number.

    python benchmarks/alignment.py [--runs 5]
"""

import json
import random
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from contest import Section, column, compared, peak_memory, run_benchmark, take_turns

KNOWN, UNKNOWN = 19_000, 1_000
QUICK_FILE, QUICK_KNOWN = 40_000, 1_900
TARGETS = {"gensim": 40, "read": 5, "MB": 64}
MEMORY = "MB above imports"


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
    started.update(memory=peak_memory(), time=time.perf_counter())


def compete(contestant: str, arguments) -> dict[str, float]:
    folder = Path(arguments.folder)
    words = json.loads((folder / "words.json").read_text())
    matrix = CONTESTANTS[contestant](folder / "glove.txt", words)
    seconds = time.perf_counter() - started["time"]
    memory = peak_memory() - started["memory"]
    if matrix is not None:
        np.save(folder / f"{contestant}.npy", matrix[:-UNKNOWN])
    return {"seconds": seconds, MEMORY: memory}


def prepare(folder: Path, quick: bool) -> None:
    """Write the vectors and the words of the vocabulary."""
    from nlp_transfer import open_vectors
    from nlp_transfer.word_vectors import save_vectors

    words, rows = zip(*open_vectors("glove-6b-50d"), strict=True)
    if quick:
        words, rows = words[:QUICK_FILE], rows[:QUICK_FILE]
    save_vectors(folder / "glove.txt", words, np.stack(rows))
    known = random.Random(0).sample(words, QUICK_KNOWN if quick else KNOWN)
    task = known + [f"zzq{number}" for number in range(UNKNOWN)]
    (folder / "words.json").write_text(json.dumps(task))


def measure(arguments) -> Section:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, arguments.quick)
        results = take_turns(__file__, CONTESTANTS, arguments.runs, "--folder", name)
        found, expected = (np.load(folder / f"{c}.npy") for c in ("toolkit", "gensim"))
    best = {contestant: min(column(results, contestant, "seconds")) for contestant in results}
    memory = max(column(results, "toolkit", MEMORY))
    embedding = (len(found) + UNKNOWN + 2) * found.shape[1] * 4 / 2**20
    targets = {
        f"at least {TARGETS['gensim']}x as fast as gensim": (
            best["gensim"] / best["toolkit"] >= TARGETS["gensim"]
        ),
        f"within {TARGETS['read']}x of reading the bytes": (
            best["toolkit"] / best["read"] <= TARGETS["read"]
        ),
        f"peak memory below {TARGETS['MB']} MB + E_T ({embedding:.1f} MB)": (
            memory < TARGETS["MB"] + embedding
        ),
        "the same rows as gensim": np.array_equal(found, expected),
    }
    what = f"{len(found) + UNKNOWN:,} words aligned to GloVe text"
    rows = compared(results, "seconds", ["gensim"], f"{what}: time")
    rows += compared(results, MEMORY, ["gensim"], f"{what}: memory above imports", "MB")
    times = best["toolkit"] / best["read, streamed"]
    note = f"Of reading the file through one 1 MiB buffer the toolkit takes {times:.1f}x the time."
    return Section(__doc__, results, rows, targets, [note])


if __name__ == "__main__":
    sys.exit(
        run_benchmark(
            __doc__,
            compete,
            measure,
            lambda parser: parser.add_argument("--folder", help="of what was prepared"),
            runs=5,
        )
    )
