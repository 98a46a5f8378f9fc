"""Learning word vectors from the shipped mails, against gensim called straight.

All contestants tokenize the same texts with the same tokenizer and train with the same settings;
the best speed of each counts. Gensim gets its sentences as lists in memory, and as a file of lines
(`corpus_file`). Speed is words of the vocabulary, times epochs, per second: in training alone,
where all have the same tokenized sentences, and with the tokenizing. (That of the toolkit's last
batch of texts counts as training.)

    python benchmarks/word2vec.py [--runs 5]
"""

import sys
import tempfile
import time
from pathlib import Path

from contest import Section, column, compared, run_benchmark, take_turns

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


def mails(quick: bool):
    """The texts, and a tokenizer of their words."""
    from nlp_transfer import build_vocabulary
    from staged_training.tables.corpus import Corpus

    texts = list(Corpus(MAILS))[: 500 if quick else None]
    return texts, build_vocabulary(texts, min_frequency=5)


def add_workers(parser) -> None:
    parser.add_argument("--workers", type=int, default=1, help="threads of each contestant")


def compete(contestant: str, arguments) -> dict[str, float]:
    import gensim.models  # noqa: F401  (importing it counts for nobody)

    texts, tokenizer = mails(arguments.quick)
    counts = tokenizer.init_kwargs["token_counts"]
    words = sum(counts) - sum(counts[number] for number in tokenizer.all_special_ids)
    start = time.perf_counter()
    tokenized = CONTESTANTS[contestant](texts, tokenizer, arguments.workers)
    end = time.perf_counter()
    return {
        "words/s, training": EPOCHS * words / (end - tokenized),
        "words/s, with tokenizing": EPOCHS * words / (end - start),
    }


def measure(arguments) -> Section:
    results = take_turns(__file__, CONTESTANTS, arguments.runs)
    peers = [contestant for contestant in CONTESTANTS if contestant != "toolkit"]
    rows, targets = [], {}
    for figure in ("words/s, training", "words/s, with tokenizing"):
        best = {contestant: max(column(results, contestant, figure)) for contestant in results}
        target = f"{figure}: within {1 - TARGET:.0%} of gensim at its faster"
        targets[target] = best["toolkit"] >= TARGET * max(best[peer] for peer in peers)
        what = f"Word2Vec, {figure.partition(', ')[2]}"
        rows += compared(results, figure, peers, what, "words/s", more_is_better=True)
    return Section(__doc__, results, rows, targets)


if __name__ == "__main__":
    sys.exit(
        run_benchmark(
            __doc__,
            compete,
            measure,
            add_workers,
            runs=5,
        )
    )
