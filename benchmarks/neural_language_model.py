"""The neural language model: its speed against a bare loop, its perplexity against a trigram.

Speed: words a second, from the texts to the trained weights, against a plain PyTorch loop over the
same windows, held ready as tensors, with the same model, optimizer and gradient clipping. The best
speed of each counts.

Perplexity (`--perplexity`, in place of the speed; some minutes): against an interpolated Kneser-Ney
trigram (NLTK's) on one tenth of the mails that neither has seen, on the very same words and with
the same vocabulary, `[UNK]` a word of it; the discount of the trigram is estimated from its counts
(Ney et al. 1994). Mails quote each other and end in the same footers, so a line that occurs again
is kept once, as in the One Billion Word benchmark (Chelba et al. 2013).

    pip install 'nlp-transfer[benchmarks]'
    python benchmarks/neural_language_model.py [--mails FILE] [--runs 3] [--perplexity]
"""

import math
import random
import re
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from contest import Section, column, compared, run_benchmark, take_turns

MAILS = Path(__file__).parents[1] / "recipes" / "data" / "related_emails" / "corpus.parquet"
SPEED_TARGET = 0.5
SPEED_MAILS = 150
BATCH, RATE = 512, 2e-3
TRAINING = {  # chosen on mails of the training part
    "epochs": 6,
    "batch_size": 512,
    "learning_rate": 3e-3,
    "embedding_size": 100,
    "hidden_size": 160,
    "dropout": 0.25,
    "sampled_words": 1024,
}


def read_mails(path: Path) -> list[str]:
    """The bodies of mails in random order, each line but once in all of them."""
    import pandas as pd

    table = pd.read_parquet(path)
    bodies = table["body" if "body" in table else "text"].tolist()
    random.Random(0).shuffle(bodies)
    seen = {""}
    mails = []
    for body in bodies:
        lines = []
        for line in body.splitlines():
            words = " ".join(re.findall(r"\w+", line.lower()))
            if words not in seen:
                seen.add(words)
                lines.append(line)
        if lines:
            mails.append("\n".join(lines))
    return mails


def vocabulary_of(mails: list[str]):
    from nlp_transfer import build_vocabulary

    return build_vocabulary(mails, max_size=10_000)


def train_toolkit(mails: list[str], tokenizer) -> float:
    """Seconds that the toolkit takes for an epoch, from the texts on."""
    from nlp_transfer.language_models import train_window_model

    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        train_window_model(
            mails, tokenizer, output_dir=folder, batch_size=BATCH, learning_rate=RATE
        )
        return time.perf_counter() - start


def train_bare(mails: list[str], tokenizer) -> float:
    """Seconds that a bare loop takes for an epoch, from tensors on."""
    import torch
    from transformers import set_seed

    from nlp_transfer.language_models import (
        Context,
        WindowLanguageModel,
        WindowLanguageModelConfig,
    )
    from nlp_transfer.language_models.window_stream import WindowStream

    set_seed(0)
    config = WindowLanguageModelConfig(vocab_size=len(tokenizer))
    model = WindowLanguageModel(config).train()
    model.load_counts(torch.tensor(tokenizer.init_kwargs["token_counts"]))
    context = Context.parse(config.context)
    batches = list(WindowStream(mails, tokenizer, context, BATCH, shuffle=True))
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0, fused=True)
    start = time.perf_counter()
    for batch in batches:
        optimizer.zero_grad()
        model(**batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return time.perf_counter() - start


CONTESTANTS = {"toolkit": train_toolkit, "bare loop": train_bare}


def compete(contestant: str, arguments) -> dict[str, float]:
    mails = read_mails(arguments.mails)[: 10 if arguments.quick else SPEED_MAILS]
    tokenizer = vocabulary_of(mails)
    words = sum(map(len, tokenizer(mails, verbose=False)["input_ids"]))
    return {"words/s": words / CONTESTANTS[contestant](mails, tokenizer)}


def n_grams(row: list[int], n: int) -> list[tuple[int, ...]]:
    """All runs of n words; before the first lie as many borders as it takes to predict it."""
    padded = [-1] * (n - 1) + row
    return list(zip(*(padded[start:] for start in range(n)), strict=False))


class Trigram:
    """NLTK's interpolated Kneser-Ney trigram on rows of word numbers."""

    def __init__(self, rows: list[list[int]]) -> None:
        from nltk.lm import KneserNeyInterpolated, NgramCounter, Vocabulary
        from nltk.lm.smoothing import KneserNey

        counter = NgramCounter(
            [gram for n in (1, 2, 3) for gram in n_grams(row, n)] for row in rows
        )
        occur = Counter(count for grams in counter[3].values() for count in grams.values())
        discount = occur[1] / (occur[1] + 2 * occur[2])
        self.model = KneserNeyInterpolated(
            3, discount=discount, vocabulary=Vocabulary(unk_cutoff=1), counter=counter
        )

        # NLTK goes through all counts for each word that it scores; here they are summed up once.
        before: Counter[tuple] = Counter()
        for order in (2, 3):
            for prefix, grams in counter[order].items():
                before[prefix[1:]] += len(grams)
                before.update((prefix[1:], word) for word in grams)

        class Indexed(KneserNey):
            def _continuation_counts(self, word, context=()):
                return before[context, word], before[context]

        self.model.estimator = Indexed(self.model.vocab, counter, order=3, discount=discount)

    def perplexity(self, rows: list[list[int]]) -> float:
        """Perplexity of the words of each row; infinite if one of them has no probability."""
        loss = words = 0.0
        for row in rows:
            for *context, word in n_grams(row, 3):
                share = self.model.unmasked_score(word, tuple(context))
                loss -= math.log(share) if share > 0 else -math.inf
                words += 1
        return math.exp(loss / words)


def perplexities(path: Path) -> dict[str, list[dict[str, float]]]:
    """Of both models, and the seconds that they take."""
    from nlp_transfer.language_models import perplexity, train_window_model

    mails = read_mails(path)
    tenth = len(mails) // 10
    test, train = mails[:tenth], mails[tenth:]
    tokenizer = vocabulary_of(train)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        model = train_window_model(train, tokenizer, output_dir=folder, **TRAINING)
        neural, neural_seconds = perplexity(model, test, tokenizer), time.perf_counter() - start
    start = time.perf_counter()
    train_rows, test_rows = (tokenizer(t, verbose=False)["input_ids"] for t in (train, test))
    trigram = Trigram(train_rows).perplexity(test_rows)
    trigram_seconds = time.perf_counter() - start
    words = sum(map(len, test_rows))
    unknown = sum(row.count(tokenizer.unk_token_id) for row in test_rows)
    print(f"{words:,} held-out words, {unknown / words:.1%} of them [UNK]")
    return {
        "toolkit": [{"perplexity": neural, "seconds": neural_seconds}],
        "trigram": [{"perplexity": trigram, "seconds": trigram_seconds}],
    }


def measure(arguments) -> Section:
    if arguments.perplexity:
        import nltk  # noqa: F401 - to miss it now, not after the neural model is trained

        results = perplexities(arguments.mails)
        own, peer = (results[name][0]["perplexity"] for name in ("toolkit", "trigram"))
        rows = compared(results, "perplexity", ["trigram"], "perplexity on unseen mails", "")
        return Section(
            __doc__, results, rows, {"a perplexity below that of the trigram": own < peer}
        )
    results = take_turns(__file__, CONTESTANTS, arguments.runs)
    what = "neural language model, training"
    rows = compared(results, "words/s", ["bare loop"], what, "words/s", more_is_better=True)
    own, peer = (max(column(results, name, "words/s")) for name in CONTESTANTS)
    target = f"at least {SPEED_TARGET}x the speed of a bare loop"
    return Section(__doc__, results, rows, {target: own >= SPEED_TARGET * peer})


def options(parser) -> None:
    parser.add_argument(
        "--mails", type=Path, default=MAILS, help="Parquet with a column `body` or `text`"
    )
    parser.add_argument(
        "--perplexity", action="store_true", help="the perplexity, in place of the speed"
    )


if __name__ == "__main__":
    sys.exit(run_benchmark(__doc__, compete, measure, options))
