"""Interrupts runs of recipes at random moments, resumes them, and tells whether anything was lost.

    python -m tests.faults                            # every recipe, 50 faults and 6 changes each
    python -m tests.faults --recipe pet-classifier --kills 10 --changes 2

Each recipe is run once on a slice of its data without a fault. Then it is interrupted and resumed
with `--resume` until it is done, again and again, until there were so many faults. They are drawn
at random: SIGKILL; SIGTERM; Ctrl-C, to the process and to its group; a disk that becomes full or
read-only (where none can be mounted, files may not grow in place of the first); a clock that jumps
by a day, for Python code and the times of files, and SIGKILL after that. After each fault every
file that is named like a finished one must be whole, and the process must have told in one line
what happened. Between them the data are changed (a row is missing, values are swapped, a photo, a
film or a scan is another), and to resume is to be refused until they are what they were. At the end
all files must be there and no others, weights to the bit, scores too.
"""

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from staged_training.runtime.markdown import markdown_table
from tests.faults.runs import Workshop, interrupt
from tests.faults.slices import SLICES, flags_of

HEADER = [
    "recipe",
    "faults",
    "by kind",
    "resumed",
    "changes refused",
    "epochs lost at most",
    "slowest to stop",
]
HEADER += ["ended identical", "failures"]


def row(tally):
    """What came of a recipe, as a row of the table."""
    return [
        tally.recipe,
        tally.count,
        ", ".join(f"{count} {kind}" for kind, count in sorted(tally.faults.items())),
        tally.resumed,
        f"{tally.refused} of {tally.changes}",
        "not counted" if tally.lost is None else f"{tally.lost:.2f}",
        f"{tally.slowest:.1f} s",
        f"{tally.identical} of {tally.chains}",
        len(tally.failures),
    ]


def tell(tally):
    """Show how far it is."""
    told = f"{tally.recipe}: {tally.count} faults, {len(tally.failures)} failures"
    print(told, end="\r" if sys.stderr.isatty() else "\n", file=sys.stderr, flush=True)


def main():
    """Run it; the exit status is that of failure if anything was lost."""
    parser = argparse.ArgumentParser(
        "python -m tests.faults",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--recipe", nargs="+", choices=SLICES, default=list(SLICES))
    parser.add_argument("--kills", type=int, default=50, help="faults for each recipe")
    parser.add_argument("--changes", type=int, default=6, help="of the data of each recipe")
    parser.add_argument("--seed", type=int, default=0, help="of the faults and their moments")
    parser.add_argument("--folder", type=Path, help="where to work; what failed is kept there")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # runs may not inherit to ignore it
    folder = options.folder or Path(tempfile.mkdtemp(prefix="faults-"))
    rows, failures = [], []
    for number, recipe in enumerate(options.recipe):
        place = folder / str(number)
        place.mkdir(parents=True)
        data = place / "data"
        shop = Workshop(place / "runs", data, flags_of(recipe, data))
        try:
            tally = interrupt(recipe, shop, options.kills, options.seed, tell, options.changes)
        finally:
            shop.close()
        rows.append(row(tally))
        failures += [f"{recipe}: {failure}" for failure in tally.failures]
        print(f"{recipe}: moments {tally.moments}", *tally.failures, sep="\n  ", flush=True)
        print(markdown_table(HEADER, rows[-1:]), flush=True)
    print("\n" + markdown_table(HEADER, rows))
    if failures:
        print(f"\nWhat failed is in {folder}.")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
