"""What people are told while mail is marked: a line for each mail that is, warnings aside."""

import sys
from collections import Counter

from staged_training.runtime.printable import one_line
from transfer_app.inbox.decision import Decider, Decision
from transfer_app.prediction.inputs import Input

_SHOWN = 60  # characters of a subject
_OUTCOMES = {
    "marked": "marked",
    "unmarked": "not marked",
    "found": "had the mark",
    "unread": "left out",
}


class Summary(Counter[str]):
    """How many mails were `marked`, `unmarked`, `found` with the mark, or `unread`.

    Attributes:
        before: How many more there were that were looked at before.
    """

    before = 0

    def __str__(self) -> str:
        counts = [f"{self[name]:,} {told}" for name, told in _OUTCOMES.items()]
        mails = "mail" if self.total() == 1 else "mails"
        told = f"{self.total():,} {mails}: {', '.join(counts)}."
        again = f" {self.before:,} looked at before; another --state looks again."
        return told + again if self.before else told


def tell_decided(summary: Summary, mail: Input, decision: Decision | None) -> None:
    """Count a mail that was marked, not marked or left out; tell of the first and the last."""
    if decision is None:
        summary["unread"] += 1
        tell_aside(f"Left out: {mail.name} {mail.problem}.")
    elif decision.is_chosen:
        summary["marked"] += 1
        words = f"  ({decision.words})" if decision.words else ""
        subject = mail.shown[:_SHOWN]
        print(one_line(f"{mail.name}  {decision.score:.2f}  {subject}{words}"), flush=True)
    else:
        summary["unmarked"] += 1


def tell_drift(decider: Decider) -> None:
    """Tell where the mails as a whole are unlike those that the model was trained on."""
    if told := decider.drift:
        tell_aside(told)


def tell_aside(sentence: str) -> None:
    """Print a sentence where it is not taken for a mail that was marked."""
    print(one_line(sentence), file=sys.stderr, flush=True)
