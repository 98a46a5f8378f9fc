"""All benchmarks one after another; what came of them becomes a page with a picture.

Writes `benchmarks.md` and `benchmarks.png`: the toolkit beside its peers, as ratios, measured in
one run on one machine. Where a target is missed the page says so; the exit status is 1 only where a
benchmark could not be run.

    make bench            # or, with everything installed:
    python benchmarks/page.py [--runs 3] [--quick] [--into docs] [NAME ...]
"""

import argparse
import datetime
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from importlib.metadata import distributions
from pathlib import Path
from statistics import median

import numpy as np
from contest import Rounds, Row, Section, figure_names, medians, processor_name, shown, times

BENCHMARKS: dict[str, tuple[str, ...]] = {
    "alignment": (),
    "frozen_head": ("--skip", "Trainer, really frozen"),  # no peer, but the toolkit's own
    "stored_features": (),
    "few_labels": (),
    "fine_tuning": (),
    "feature_extraction": (),
    "latency": (),
    "start_up": (),
    "growth": ("--runs", "1"),  # minutes a round; its spread is that over the sizes
    "prediction": ("--runs", "1"),  # the same
}
"""What is on the page, an hour on two cores, and the arguments of each."""

PACKAGES = (
    "torch",
    "transformers",
    "timm",
    "fastai",
    "setfit",
    "sentence-transformers",
    "scikit-learn",
    "gensim",
    "onnxruntime",
    "openvino",
)
COLOURS = {"ahead": "tab:green", "level": "tab:gray", "behind": "tab:red"}
EDGES = 0.02, 200
"""Ratios beyond these are drawn there, and written as they are."""


def run(name: str, runs: int, quick: bool) -> Section | None:
    """Run a benchmark; what came of it, or nothing if it failed."""
    print(f"{name}:", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "section.json"
        command = [sys.executable, str(script_of(name)), "--runs", str(runs), "--save", str(saved)]
        subprocess.run([*command, *BENCHMARKS.get(name, ()), *(["--quick"] if quick else [])])
        return Section.load(saved) if saved.exists() else None


def script_of(name: str) -> Path:
    """The file of a benchmark."""
    return Path(__file__).with_name(f"{name}.py")


def facts(seconds: float, load: float) -> dict[str, str]:
    """What was measured where, with what and how."""
    import torch

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    installed = {item.name.lower(): item.version for item in distributions()}
    packages = [f"{name} {installed[name]}" for name in PACKAGES if name in installed]
    threads = torch.get_num_threads()
    return {
        "machine": ", ".join(
            [processor_name(), f"{os.cpu_count()} cores", f"{memory:.0f} GB", platform.system()]
        ),
        "load before the run": f"{load:.2f}",
        "threads of every contestant": str(threads),
        "versions": ", ".join([f"Python {platform.python_version()}", *packages]),
        "date": datetime.date.today().isoformat(),
        "command": f"`OMP_NUM_THREADS={threads} python {' '.join(sys.argv)}`",
        "duration": f"{seconds / 60:.0f} minutes",
    }


def page(sections: dict[str, Section | None], facts: dict[str, str], quick: bool = False) -> str:
    """The page, in Markdown."""
    ran = [section for section in sections.values() if section]
    verdicts = [row.verdict for section in ran for row in section.rows]
    counts = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in COLOURS)
    targets = [item for section in ran for item in section.targets.items()]
    missed = [target for target, held in targets if not held]
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`. A ratio says how many times better the toolkit is than a peer",
        "on one figure: the median of the rounds, and the least and the greatest of them. The",
        "toolkit is ahead or behind only where every round says so, else level.",
        "",
        *(["**On little data, which shows that it runs and nothing else.**", ""] if quick else []),
        *(f"- {name}: {fact}" for name, fact in facts.items()),
        "",
        f"Of {len(verdicts)} ratios: {counts}. Of {len(targets)} targets {len(missed)} missed"
        + (":" if missed else "."),
        "",
        *(f"- **missed**: {target}" for target in missed),
        *([""] if missed else []),
        "![the toolkit beside each peer: ratios with their spread](benchmarks.png)",
    ]
    for name, section in sections.items():
        told = describe(name, section) if section else [f"## {name}", "", "**Could not be run.**"]
        lines += ["", *told]
    return "\n".join(lines) + "\n"


def describe(name: str, section: Section) -> list[str]:
    """The lines of a benchmark: what was done, the ratios, the targets and all figures."""
    title, *paragraphs = section.text.strip().split("\n\n")
    lines = [f"## {title.rstrip('.')}", "", f"`benchmarks/{name}.py`", ""]
    for paragraph in paragraphs:
        if not paragraph.startswith("    "):  # the commands, which stand in the script
            lines += [paragraph, ""]
    if section.rows:
        lines += [*table_of_rows(section.rows), ""]
    ends = [f"{'met' if held else '**missed**'}: {t}" for t, held in section.targets.items()]
    ends += section.notes
    if ends:
        lines += [*(f"- {end}" for end in ends), ""]
    return [*lines, "Medians of all that was measured:", "", *table_of_results(section.results)]


def table_of_rows(rows: Iterable[Row]) -> list[str]:
    """The ratios, and the medians of what they are made of."""
    cells = []
    for row in rows:
        figures = [f"{shown(median(values))} {row.unit}" for values in (row.own, row.others)]
        verdict = f"**{row.verdict}**" if row.verdict == "behind" else row.verdict
        cells.append([row.what, row.peer, *figures, row.spread, verdict])
    return table(["", "peer", "toolkit", "the peer", "ratio", ""], cells)


def table_of_results(results: Rounds) -> list[str]:
    """The median of every figure of every contestant."""
    names = figure_names(results)
    cells = [
        [contestant, *(shown(medians(results, contestant).get(name)) for name in names)]
        for contestant in results
    ]
    return table(["", *names], cells)


def table(head: Sequence[str], body: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table of Markdown."""
    rows = [head, ["---"] * len(head), *body]
    return [f"| {' | '.join(cell.strip() for cell in row)} |" for row in rows]


def draw(sections: Iterable[Section], path: Path) -> None:
    """Draw the ratios of all benchmarks with their spread, on a logarithmic axis."""
    from matplotlib.figure import Figure

    rows = [row for section in sections for row in section.rows]
    figure = Figure(figsize=(9.5, 1.2 + 0.2 * max(len(rows), 1)), layout="constrained")
    axes = figure.subplots()
    axes.set_xscale("log")
    axes.set(xlim=EDGES, ylim=(len(rows) - 0.4, -0.6))
    axes.axvline(1, color="0.4", linewidth=1)
    beside = axes.get_yaxis_transform()  # so that x is a share of the width
    for place, row in enumerate(rows):
        low, middle, high = min(row.ratios), median(row.ratios), max(row.ratios)
        colour = COLOURS[row.verdict]
        axes.plot(np.clip([low, high], *EDGES), [place] * 2, color=colour, linewidth=2)
        axes.plot(np.clip(middle, *EDGES), place, "o", color=colour, markersize=4)
        axes.text(1.01, place, times(middle), transform=beside, fontsize=7, va="center")
    labels = [f"{row.what}, to {row.peer}" for row in rows]
    axes.set_yticks(range(len(rows)), labels, fontsize=7)
    marks = [0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200]
    axes.set_xticks(marks, [f"{mark:g}x" for mark in marks], fontsize=7)
    axes.set_xticks([], minor=True)
    axes.grid(axis="x", color="0.92")
    axes.set_axisbelow(True)
    axes.set_xlabel(
        "how many times better the toolkit is: median, least and greatest of the rounds"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def main() -> int:
    """Run the benchmarks, write the page and the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="of benchmarks, such as growth")
    parser.add_argument("--runs", type=int, default=3, help="how often each contestant runs")
    parser.add_argument("--quick", action="store_true", help="little data: does it all run?")
    parser.add_argument("--into", type=Path, default=Path("docs"), help="folder of the page")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.names if not script_of(name).exists()]:
        parser.error(f"no such benchmark: {', '.join(unknown)}")
    start, load = time.perf_counter(), os.getloadavg()[0]
    names = arguments.names or BENCHMARKS
    sections = {name: run(name, arguments.runs, arguments.quick) for name in names}
    told = facts(time.perf_counter() - start, load)
    draw([section for section in sections.values() if section], arguments.into / "benchmarks.png")
    (arguments.into / "benchmarks.md").write_text(page(sections, told, arguments.quick))
    print(f"{arguments.into / 'benchmarks.md'} is written.")
    return 0 if all(sections.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
