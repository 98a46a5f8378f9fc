"""Fitting GloVe to the shipped mails, beside Word2Vec of gensim.

Both learn vectors of the same width for the same words, with as many threads, as they do by
default: GloVe 25 epochs over the pairs of words within 10 of each other, skip-gram 5 epochs over
the texts, with words within 5. `WordSim-353` is Spearman's rank correlation with human judgement
over the pairs that the corpus has.

    python benchmarks/glove.py [--runs 3] [--workers 2]
"""

import sys
import time

from contest import Section, column, compared, run_benchmark, take_turns
from word2vec import add_workers, mails, tokenize

EPOCHS, DIM, WINDOW = 25, 50, 10
TIME, SCORE = "seconds", "WordSim-353"
MOST_TIMES = 2.0


def fit_glove(texts: list[str], tokenizer, workers: int) -> dict[str, float]:
    from nlp_transfer.evaluation import word_similarity
    from nlp_transfer.language_models.glove import train_glove

    ends = []
    start = time.perf_counter()
    vectors = train_glove(
        texts,
        tokenizer,
        dim=DIM,
        window=WINDOW,
        epochs=EPOCHS,
        workers=workers,
        on_epoch=lambda _: ends.append(time.perf_counter()),
    )
    seconds = time.perf_counter() - start
    epoch = (ends[-1] - ends[0]) / (EPOCHS - 1)
    return {
        TIME: seconds,
        "seconds of counting": seconds - EPOCHS * epoch,
        "seconds of an epoch": epoch,
        SCORE: word_similarity(vectors, "wordsim353").score,
    }


def fit_word2vec(texts: list[str], tokenizer, workers: int) -> dict[str, float]:
    from gensim.models import Word2Vec

    from nlp_transfer.evaluation import word_similarity

    start = time.perf_counter()
    sentences = list(tokenize(texts, tokenizer))
    model = Word2Vec(sentences, vector_size=DIM, sg=1, min_count=1, workers=workers, seed=0)
    seconds = time.perf_counter() - start
    return {TIME: seconds, SCORE: word_similarity(model.wv, "wordsim353").score}


CONTESTANTS = {"toolkit": fit_glove, "gensim": fit_word2vec}


def compete(contestant: str, arguments) -> dict[str, float]:
    import gensim.models  # noqa: F401  (importing it counts for nobody)

    return CONTESTANTS[contestant](*mails(arguments.quick), arguments.workers)


def measure(arguments) -> Section:
    results = take_turns(__file__, CONTESTANTS, arguments.runs)
    rows = compared(results, TIME, ["gensim"], "GloVe", "s")
    ours, theirs = (min(column(results, contestant, TIME)) for contestant in CONTESTANTS)
    targets = {f"at most {MOST_TIMES:g} times as long as Word2Vec": ours <= MOST_TIMES * theirs}
    return Section(__doc__, results, rows, targets)


if __name__ == "__main__":
    sys.exit(
        run_benchmark(
            __doc__,
            compete,
            measure,
            add_workers,
            runs=3,
        )
    )
