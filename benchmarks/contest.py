"""Contestants in turn, each in a process of its own, round by round; what came of them.

A benchmark is a script with some contestants. Run with `--contestant NAME` it lets one of them
compete and prints its figures; run without, it lets all of them take turns for some rounds, prints
what came of it, and ends with the status 1 where a target is missed.
"""

import argparse
import json
import math
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

Figures = dict[str, float]
Rounds = dict[str, list[Figures]]
"""The figures of each contestant, one after another for each round."""

PEAK = "peak MB"
"""The figure that every contestant has: the most memory that its process held."""

TIMED_OUT = 124
"""The exit status of the command `timeout` of what it stopped."""


@dataclass(frozen=True)
class Row:
    """The toolkit beside a peer on one figure.

    Attributes:
        what: What was measured.
        peer: The other contestant.
        unit: Of both figures.
        own: The figure of the toolkit in each round.
        others: The figure of the peer in each round.
        more_is_better: Whether the larger figure is the better one, as of scores.
    """

    what: str
    peer: str
    unit: str
    own: list[float]
    others: list[float]
    more_is_better: bool = False

    @property
    def ratios(self) -> list[float]:
        """How many times better the toolkit is, in each round."""
        pairs = zip(self.own, self.others, strict=True)
        return [ratio(a, b) if self.more_is_better else ratio(b, a) for a, b in pairs]

    @property
    def verdict(self) -> str:
        """`ahead` or `behind` if every round says so, else `level`."""
        ratios = self.ratios
        return "ahead" if min(ratios) > 1 else "behind" if max(ratios) < 1 else "level"

    @property
    def spread(self) -> str:
        """The median of the ratios, and the least and the greatest."""
        low, high = min(self.ratios), max(self.ratios)
        return f"{times(median(self.ratios))} ({times(low)} to {times(high)})"


@dataclass
class Section:
    """What came of a benchmark.

    Attributes:
        text: What was done: its title, and paragraphs behind it.
        results: All that was measured.
        rows: What is claimed of it.
        targets: What was aimed at, and whether it holds.
        notes: What else there is to tell, in sentences.
    """

    text: str
    results: Rounds
    rows: list[Row] = field(default_factory=list)
    targets: dict[str, bool] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, path: Path) -> "Section":
        """Read what `save` wrote."""
        fields = json.loads(path.read_text())
        return cls(**{**fields, "rows": [Row(**row) for row in fields["rows"]]})

    def described(self) -> str:
        """The figures, the rows and the targets, for a terminal."""
        names = figure_names(self.results)
        width = max(map(len, self.results)) + 2
        widths = {name: max(len(name), 7) + 2 for name in names}
        lines = [" " * width + "".join(f"{name:>{widths[name]}}" for name in names)]
        for contestant in self.results:
            figures = medians(self.results, contestant)
            cells = [f"{shown(figures.get(name)):>{widths[name]}}" for name in names]
            lines.append(f"{contestant:{width}}" + "".join(cells))
        lines += [f"{row.verdict:7} {row.what}, to {row.peer}: {row.spread}" for row in self.rows]
        for target, held in self.targets.items():
            lines.append(f"{'holds ' if held else 'MISSED'}  {target}")
        return "\n".join([*lines, *self.notes])


def run_benchmark(
    document: str,
    compete: Callable[[str, argparse.Namespace], Figures],
    measure: Callable[[argparse.Namespace], Section],
    options: Callable[[argparse.ArgumentParser], Any] = lambda parser: None,
    runs: int = 3,
) -> int:
    """The command line of a benchmark; returns its exit status.

    Args:
        document: The docstring of the script.
        compete: Runs one contestant in this process; what it measured.
        measure: Runs all of them, by `take_turns`.
        options: Adds further arguments.
        runs: How many rounds there are by default.
    """
    parser = argparse.ArgumentParser(description=document.splitlines()[0])
    parser.add_argument("--runs", type=int, default=runs, help="how often each contestant runs")
    parser.add_argument("--quick", action="store_true", help="little data: does it all run?")
    parser.add_argument("--save", type=Path, help="where to write what was measured, as JSON")
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    parser.add_argument("--round", type=int, default=0, help=argparse.SUPPRESS)
    options(parser)
    arguments = parser.parse_args()
    if arguments.contestant:
        figures = compete(arguments.contestant, arguments)
        print(json.dumps({PEAK: peak_memory()} | figures))
        return 0
    section = measure(arguments)
    print(section.described())
    if arguments.save:
        section.save(arguments.save)
    return 0 if all(section.targets.values()) else 1


def take_turns(
    script: str,
    contestants: Iterable[str],
    runs: int,
    *extra: str,
    minutes: float | None = None,
    title: str = " ",
) -> Rounds:
    """Let contestants of a script run in turn, with the arguments of this process and some more.

    A contestant is told the number of its round, by which it may draw other data in each. What it
    writes to stderr is shown only where it fails. One that takes more than so many minutes is
    stopped, with all that it started, and has no figures. What is told begins with the title.
    """
    results: Rounds = {contestant: [] for contestant in contestants}
    limit = ["timeout", "--kill-after=5s", f"{minutes}m"] if minutes else []
    for number in range(runs):
        for contestant, measured in results.items():
            if len(measured) < number:
                continue  # it was stopped
            command = [*limit, sys.executable, script, *sys.argv[1:], *extra]
            command += ["--contestant", contestant, "--round", str(number)]
            finished = subprocess.run(command, capture_output=True, text=True)
            if limit and finished.returncode == TIMED_OUT:
                measured.clear()
                print(f"{title} {contestant}: not done in {minutes:g} minutes", file=sys.stderr)
                continue
            if finished.returncode:
                sys.exit(f"{finished.stderr}\n{contestant} failed in round {number + 1}.")
            measured.append(json.loads(finished.stdout.splitlines()[-1]))
            told = ", ".join(f"{name} {shown(value)}" for name, value in measured[-1].items())
            print(
                f"{title} {contestant}, {number + 1} of {runs}: {told}", file=sys.stderr, flush=True
            )
    return results


def column(results: Rounds, contestant: str, figure: str) -> list[float]:
    """A figure of a contestant, round by round."""
    return [figures[figure] for figures in results[contestant]]


def compared(
    results: Rounds,
    figure: str,
    peers: Sequence[str],
    what: str,
    unit: str = "s",
    *,
    own: str = "toolkit",
    more_is_better: bool = False,
) -> list[Row]:
    """The toolkit beside each of some peers on one figure."""
    ours = column(results, own, figure)
    return [
        Row(what, peer, unit, ours, column(results, peer, figure), more_is_better)
        for peer in peers
        if peer in results
    ]


def time_and_memory(
    results: Rounds, peers: Sequence[str], what: str, *, own: str = "toolkit"
) -> list[Row]:
    """The toolkit beside each of some peers on what all of them have: seconds and peak memory."""
    rows = compared(results, "seconds", peers, f"{what}: time", own=own)
    return rows + compared(results, PEAK, peers, f"{what}: peak memory", "MB", own=own)


def ratio(better: float, worse: float) -> float:
    """A quotient, for which nothing is as good as nothing."""
    return better / worse if worse else math.inf if better else 1.0


def medians(results: Rounds, contestant: str) -> Figures:
    """The median of each figure of a contestant."""
    rounds = results[contestant]
    return {name: median(figures[name] for figures in rounds) for name in rounds[0]}


def figure_names(results: Rounds) -> list[str]:
    """The names of all figures in order, the peak of memory as the last."""
    names = dict.fromkeys(name for rounds in results.values() for name in rounds[0])
    return sorted(names, key=lambda name: name == PEAK)


def shown(value: float | None) -> str:
    """A figure with three digits that count; nothing for none."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def times(value: float) -> str:
    """A ratio, with as many digits as can be told apart."""
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f}x"


def processor_name() -> str:
    """What the processor calls itself."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def peak_memory() -> float:
    """MB that this process has held at most. (`ru_maxrss` would count its parent's too.)"""
    (line,) = (x for x in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in x)
    return int(line.split()[1]) / 1024
