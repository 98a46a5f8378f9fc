"""What the card of the urgency labels says of the two readers is what the shipped columns hold."""

import numpy as np
import pandas as pd
import pytest
from recipes.email_urgency_report import LIMITS
from sklearn.metrics import cohen_kappa_score, f1_score

from recipes.email_urgency import DATA

TIME_OR_HASTE = (
    r"(?i)\b(?:today|tonight|tonite|tomorrow|now|asap|soon|morning|afternoon|evening|noon|deadline"
    r"|urgent\w*|immediate\w*|quick\w*|hurry|(?:mon|tues|wednes|thurs|fri|satur|sun)day"
    r"|\d{1,2}(?::\d\d)? ?[ap]\.?m|\d{1,2}:\d\d)\b"
)


@pytest.fixture(scope="module")
def card() -> str:
    return (DATA / "README.md").read_text()


@pytest.fixture(scope="module")
def said(card) -> str:
    """The card without its line breaks."""
    return " ".join(card.split())


@pytest.fixture(scope="module")
def messages() -> pd.DataFrame:
    return pd.read_parquet(DATA / "messages.parquet")


def counts(messages: pd.DataFrame) -> np.ndarray:
    """Messages that both call urgent, only the first, only the second, neither; shape `(4,)`."""
    first, second = (messages[name] == "urgent" for name in ("label_first", "label_second"))
    return np.array(
        [sum(first & second), sum(first & ~second), sum(~first & second), sum(~first & ~second)]
    )


def kappa(shares: np.ndarray) -> np.ndarray:
    """Cohen's kappa (1960) of tables like `counts` that sum to one; shape `(..., 4)` to `(...)`."""
    both, first, second, neither = np.moveaxis(shares, -1, 0)
    chance = (both + first) * (both + second) + (second + neither) * (first + neither)
    return (both + neither - chance) / (1 - chance)


def test_the_card_names_kappa_and_its_interval(said, messages):
    table = counts(messages)
    samples = np.random.default_rng(0).multinomial(2000, table / 2000, size=10_000)
    low, high = np.percentile(kappa(samples / 2000), [2.5, 97.5])
    value = cohen_kappa_score(messages["label_first"], messages["label_second"])

    assert kappa(table / 2000) == pytest.approx(value)
    assert f"kappa is **{value:.3f}** (95 % interval {low:.3f} to {high:.3f}" in said
    assert f"kappa {value:.2f}" in LIMITS
    readers = f1_score(messages["label_first"], messages["label_second"], average="macro")
    assert f"macro-F1 of {readers:.3f}" in said


def test_the_card_shows_the_table_of_both_readers(card, messages):
    both, first, second, neither = counts(messages)
    assert f"| **first: urgent** | {both} | {first} |\n" in card
    assert f"| **first: non-urgent** | {second} | {neither:,} |\n" in card


def test_the_card_shows_the_agreement_by_kind_of_message(card, messages):
    timed = messages["text"].str.contains(TIME_OR_HASTE)
    asks = messages["asks_for_action"]
    rows = []
    for name, kind in [
        ("ask for action", asks),
        ("do not", ~asks),
        ("name a time or haste", timed),
        ("do not", ~timed),
    ]:
        both, first, second, neither = table = counts(messages[kind])
        agree = (both + neither) / table.sum()
        rows.append(
            f"| {name} | {table.sum():,} | {100 * agree:.1f} % | {kappa(table / table.sum()):.3f} "
            f"| {both} | {first} | {second} |\n"
        )
    assert "".join(rows) in card


def test_a_label_differs_from_a_reading_only_where_the_readers_differ(said, messages):
    first, second, label = (messages[f"label{part}"] for part in ("_first", "_second", ""))
    differ = first != second
    urgent = label[differ] == "urgent"
    assert (label[~differ] == first[~differ]).all()
    share = f"{100 * differ.mean():.1f} %"
    assert f"The {differ.sum()} messages on which they differ ({share}) were read" in said
    assert f"{urgent.sum()} became urgent, {(~urgent).sum()} non-urgent" in said
    assert (
        f"({(label != second).sum()} differ) than to the first ({(label != first).sum()})" in said
    )


def test_the_card_counts_the_urgent_messages(said, messages):
    urgent = messages["label"] == "urgent"
    of_fold = urgent.groupby(messages["fold"]).sum()
    proxy = pd.read_parquet(DATA / "proxy.parquet")
    more = sum(proxy["label_second"] == "urgent")
    assert f"**urgent** ({urgent.sum()}) or **non-urgent** ({(~urgent).sum():,})" in said
    assert f"hold {of_fold.min()} to {of_fold.max()} urgent messages each" in said
    assert f"finds {more} of {len(proxy):,} urgent ({100 * more / len(proxy):.1f} %)" in said
    assert f"add {100 * more / urgent.sum():.0f} % to the urgent messages" in said
    assert f"urgent mail is rare ({100 * urgent.mean():.1f} %)" in said
