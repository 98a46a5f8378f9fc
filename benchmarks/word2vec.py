"""Learning word vectors from the shipped mails, against gensim called straight.

All contestants tokenize the same texts with the same tokenizer and train with the same settings,
in a process of its own each, in turn; the best time of each counts. Gensim gets its sentences as
lists in memory, and as a file of lines (`corpus_file`). Speed is words of the vocabulary, times
epochs, per second: in training alone, where all have the same tokenized sentences, and with the
tokenizing. (That of the toolkit's last batch of texts counts as training.)

    python benchmarks/word2vec.py [--runs 5]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MAILS = Path(__file__).parents[1] / "recipes" / "data" / "related_emails"
EPOCHS, DIM, WINDOW = 5, 50, 5
TARGET = 0.95


def train_with_toolkit(texts: list[str], tokenizer, workers: int) -> float:
    from nlp_transfer.language_models.word2vec import train_word2vec

    tokenized = 0.0

    def read():
        nonlocal tokenized
        yield from texts
        tokenized = time.perf_counter()

    train_word2vec(read(), tokenizer, dim=DIM, window=WINDOW, epochs=EPOCHS, workers=workers)
    return tokenized


def train_with_lists(texts: list[str], tokenizer, workers: int) -> float:
    sentences = list(tokenize(texts, tokenizer))
    tokenized = time.perf_counter()
    train_with_gensim({"sentences": sentences}, workers)
    return tokenized


def train_with_file(texts: list[str], tokenizer, workers: int) -> float:
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        for sentence in tokenize(texts, tokenizer):
            file.write(" ".join(sentence) + "\n")
        file.flush()
        tokenized = time.perf_counter()
        train_with_gensim({"corpus_file": file.name}, workers)
    return tokenized


def tokenize(texts: list[str], tokenizer):
    words = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    special = set(tokenizer.all_special_ids)
    for ids in tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]:
        yield [words[i] for i in ids if i not in special]


def train_with_gensim(source: dict, workers: int) -> None:
    from gensim.models import Word2Vec

    settings = {"vector_size": DIM, "window": WINDOW, "epochs": EPOCHS, "sg": 1, "min_count": 1}
    Word2Vec(**source, **settings, workers=workers, seed=0)


CONTESTANTS = {
    "toolkit": train_with_toolkit,
    "gensim, lists": train_with_lists,
    "gensim, file": train_with_file,
}


def compete(contestant: str, workers: int) -> None:
    """Run one contestant in this process and print what it took."""
    import gensim.models  # noqa: F401  (importing it counts for nobody)

    from nlp_transfer import build_vocabulary
    from nlp_transfer.corpus import Corpus

    texts = list(Corpus(MAILS))
    tokenizer = build_vocabulary(texts, min_frequency=5)
    counts = tokenizer.init_kwargs["token_counts"]
    words = sum(counts) - sum(counts[number] for number in tokenizer.all_special_ids)
    start = time.perf_counter()
    tokenized = CONTESTANTS[contestant](texts, tokenizer, workers)
    end = time.perf_counter()
    seconds = {"training": end - tokenized, "with tokenizing": end - start}
    print(json.dumps({"words": words} | seconds))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5, help="how often each contestant runs")
    parser.add_argument("--workers", type=int, default=1, help="threads of each contestant")
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contestant:
        compete(arguments.contestant, arguments.workers)
        return 0
    results: dict[str, list[dict[str, float]]] = {contestant: [] for contestant in CONTESTANTS}
    for _ in range(arguments.runs):
        for contestant, measured in results.items():
            command = [sys.executable, __file__, "--contestant", contestant]
            command += ["--workers", str(arguments.workers)]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            measured.append(json.loads(output))
    return report(results)


def report(results: dict[str, list[dict[str, float]]]) -> int:
    """Print the figures; 1 if a target is missed."""
    held = True
    for phase in ("training", "with tokenizing"):
        speed = {
            contestant: EPOCHS * max(run["words"] / run[phase] for run in runs)
            for contestant, runs in results.items()
        }
        gensim = max(speed[contestant] for contestant in CONTESTANTS if contestant != "toolkit")
        print(f"{phase:16}{'words/s':>12}{'to gensim':>12}")
        for contestant, rate in speed.items():
            print(f"  {contestant:14}{rate:12,.0f}{rate / gensim:11.2f}x")
        holds = speed["toolkit"] >= TARGET * gensim
        print(f"{'holds ' if holds else 'MISSED'}  within {1 - TARGET:.0%} of gensim at its faster")
        held &= holds
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
