"""Reports: `index.html` and `report.md` with plots for people, `results.json` for programs."""

import importlib.util
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from staged_training.experiment.fingerprints import versions
from staged_training.experiment.outcome import Row
from staged_training.model_card import UNDONE
from staged_training.reporting.html_page import html_page
from staged_training.runtime.files import written_whole
from staged_training.runtime.markdown import as_code, markdown_table
from staged_training.runtime.printable import printable

QUICK = " **Quick run: one epoch per stage; do not judge by it.**"


def write_results(folder: Path, recipe: str, seed: int, rows: Sequence[Row]) -> None:
    """Write `results.json`: the rows, and the versions of what produced them."""
    results = {
        "recipe": recipe,
        "seed": seed,
        "rows": [asdict(row) for row in rows],
        "versions": {"python": platform.python_version(), **versions()},
    }
    with written_whole(folder / "results.json") as path:
        path.write_text(json.dumps(results, indent=2) + "\n")


def tested_on(folds: Sequence[int], numbers: Sequence[int]) -> str:
    """Return which of the folds, of these numbers, the models of a table were tested on."""
    if len(numbers) == 1:
        return "the test part of the split that came with the data"
    if len(folds) > 1:
        return f"all {len(numbers)} folds, mean ± standard deviation over the folds"
    return f"fold {folds[0]} only"


def results_table(rows: Sequence[Row], titles: Mapping[str, str]) -> str:
    """Return the rows as a Markdown table.

    A row whose fine-tuning was undone says so; its scores stand in the row before already.

    Args:
        rows: One for each model.
        titles: What to call each metric that is shown, in order.
    """
    return markdown_table(
        ["model", *titles.values(), "seconds", "trained parameters"],
        [
            [
                f"{row.name} ({UNDONE})" if row.undone else row.name,
                *("" if row.undone else _with_std(row, metric) for metric in titles),
                f"{row.seconds:.1f}",
                f"{row.trainable_parameters:,}",
            ]
            for row in rows
        ],
    )


def _with_std(row: Row, metric: str) -> str:
    spread = f" ± {row.std[metric]:.3f}" if metric in row.std else ""
    value = row.metrics[metric]
    usual = value == 0 or 0.001 <= abs(value) < 10_000  # errors of numbers have their units
    return f"{value:.3f}{spread}" if usual else f"{value:.4g}"


class Report:
    """A Markdown page with pictures beside it, built section by section.

    Args:
        folder: Where the page and its pictures go; it must exist.
        title: The heading of the page.
    """

    def __init__(self, folder: Path, title: str) -> None:
        self.folder, self.title = folder, title
        self._parts = [f"# {title}"]

    def section(self, heading: str, *paragraphs: str) -> None:
        """Add a section of Markdown."""
        self._parts += [f"## {heading}", *paragraphs]

    def arguments(self, arguments: Mapping[str, Any]) -> None:
        """Add the arguments of the run."""
        lines = (f"- `{name}`: {as_code(str(value))}" for name, value in arguments.items())
        self.section("Arguments", *lines)

    def picture(
        self, name: str, description: str, plot: Callable[..., None], *args: Any, **kwargs: Any
    ) -> None:
        """Add a picture, which needs the extra `plots`.

        Args:
            name: The name of its file, without ending.
            description: What is to be seen.
            plot: Draws it; takes the path of a file first.
            *args: What it takes behind the path.
            **kwargs: What it takes by name.
        """
        if importlib.util.find_spec("matplotlib"):
            with written_whole(self.folder / f"{name}.png") as path:
                plot(path, *args, **kwargs)
            self._parts.append(f"![{description}]({name}.png)")
        else:
            self._parts.append(
                f"*Not drawn: {description}. Install the plots with "
                "`pip install 'nlp-transfer[plots]'`.*"
            )

    def write(self) -> Path:
        """Write `report.md` and, as one file with its pictures, `index.html`; return its path."""
        content = printable("\n\n".join(self._parts) + "\n")
        page = html_page(content, self.title, self.folder)
        for name, text in {"report.md": content, "index.html": page}.items():
            with written_whole(self.folder / name) as path:
                path.write_text(text, encoding="utf-8")
        return self.folder / "index.html"
