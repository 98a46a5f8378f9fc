"""Write the guide's page about architectures: `python -m tests.architectures.page RECORDS`."""

import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.architectures.cases import NOT_BUILT
from tests.architectures.checks import ON_FEATURES
from tests.architectures.records import Record, read

_HEAD, _TOP = ON_FEATURES
_INTRODUCTION = """\
# Architectures

Every class that `transformers` registers for classification, question answering and multiple
choice, and a member of every module of timm, is built small, with random weights, and tried:

- every parameter is in one layer group, and in one only;
- what is frozen does not move by a bit in training, nor do its buffers;
- `backbone[-1:]` is a block of the network;
- with `layer_decay` the optimizer holds each parameter once;
- on features the model ends with the weights of the plain `Trainer` after two epochs, to 1e-5, and
  with its evaluation loss; or it warns that the frozen layers run in every epoch, and they do.

`head` trains the head alone, `top` the last block too. The examples of a batch differ in content
and, where the model takes it, in length. *Rounded* are weights that differ by more than 1e-5, and
by a hundredth of that in double precision."""
_WHY = """\
What falls back trains as ever, only no faster, and says so once. Most of it has one of these
reasons:

- *An example depends on its padding*: CANINE, ConvBERT, FNet, Funnel and YOSO mix a text with the
  padding behind it, so that what they make of it differs from batch to batch. So do speech models
  that normalise over time (`feat_extract_norm="group"`), which is why they are given sounds of one
  length here. Pad to one length, and they train on features.
- *Chance has a part below the last block*: BioGPT, FlauBERT, XLM, XLNet and the encoders of T5
  drop out what goes into their first layer by the same module, or in the same function, as what
  comes out of the last; speech models leave out layers (`layerdrop`). Set these rates to 0, or
  train the head alone.
- *Layers choose*: Reformer hashes by chance. AXK2 attends to the few best tokens only, and which
  they are changes where two are nearly as good: what it says of an example depends on the size of
  its batch, without features, too.

Questions are padded to one length, as is usual, since their loss is over all places, padding
too."""
_HOW = """\
This page is written from the results:

```
pytest -m slow tests/architectures -n 2
python -m tests.architectures.page build/architectures.jsonl > docs/architectures.md
```"""


def page(records: Sequence[Record]) -> str:
    """Return the page, in Markdown."""
    parts = [
        _INTRODUCTION,
        summary(records),
        "## What falls back, and why",
        _WHY,
        _fallbacks(records),
        "## What trains on features",
        *_families(records),
        "## What was not tried",
        _table(("class", "why"), ((f"`{name}`", why) for name, why in sorted(NOT_BUILT.items()))),
        _HOW,
    ]
    return "\n\n".join(parts) + "\n"


def summary(records: Iterable[Record]) -> str:
    """Return a table of how many classes of each task train on features."""
    found = Counter()
    for record in records:
        found[record.task, "tried"] += 1
        for name in ON_FEATURES:
            found[record.task, name, record.status.get(name, "not built")] += 1
    statuses = sorted({key[2] for key in found if len(key) == 3}, key=lambda s: (s != "equal", s))
    columns = [(name, status) for name in ON_FEATURES for status in statuses]
    head = ("task", "classes", *(f"{name.split()[0]}: {status}" for name, status in columns))
    tasks = [task for task, *rest in found if rest == ["tried"]]
    rows = ((t, found[t, "tried"], *(found[t, n, s] for n, s in columns)) for t in tasks)
    return _table(head, rows)


def _fallbacks(records: Iterable[Record]) -> str:
    """Return a table of reasons and the classes that have them."""
    classes: dict[tuple[str, str], list[str]] = defaultdict(list)
    for record in records:
        for name in ON_FEATURES:
            status = record.status.get(name, "not built")
            if status != "equal":
                said = record.reason.get(name, record.reason.get("build", ""))
                why = said.split("not once: ")[-1].replace(f" ({record.class_name}).", "")
                classes[why.replace("|", "\\|"), name.split()[0]].append(f"`{record.class_name}`")
    rows = ((", ".join(names), trained, why) for (why, trained), names in sorted(classes.items()))
    return _table(("classes", "trained", "why"), rows) if classes else "Nothing does."


def _families(records: Iterable[Record]) -> Iterable[str]:
    """Yield for each task a table of its families."""
    tasks: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        tasks[record.task].append(record)
    words = {"equal": "yes", "warned": "falls back", "rounded": "but for rounding"}
    for task, members in tasks.items():
        rows = (
            (
                r.model_type,
                f"`{r.class_name}`",
                *(words.get(r.status.get(n, ""), "**no**") for n in ON_FEATURES),
            )
            for r in members
        )
        yield f"### {task[0].upper()}{task[1:]}"
        yield _table(("family", "class", "head", "top"), rows)


def _table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


if __name__ == "__main__":
    print(page(read(Path(sys.argv[1]))), end="")
