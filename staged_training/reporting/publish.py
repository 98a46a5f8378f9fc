"""The end of a run: report, results, model card, what is printed, and the upload."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from staged_training.experiment.outcome import Row
from staged_training.experiment.run_folder import RunFolder
from staged_training.reporting.hub import OWN_LICENSE, Task, push, write_card
from staged_training.reporting.report import Report, write_results
from staged_training.runtime.files import existing_path
from staged_training.runtime.markdown import as_code
from staged_training.runtime.printable import shell_path

_TEMPLATES = Environment(
    undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=False
)
_TEMPLATES.filters |= {"repr": repr, "code": as_code}  # a Python literal; text shown as code


@dataclass(frozen=True)
class Card:
    """A model card to be written.

    Attributes:
        title: The name of the model.
        task: What the model does, and on which data it was measured; `None` for what no pipeline
            of `transformers` runs.
        template: A file of Markdown with placeholders in the language of Jinja.
        values: What the placeholders stand for.
        tags: Tags for the Hub, besides our own.
        license_id: License of the weights, as the Hub names it; `None` if the user has to say.
        language: Of the texts, as an ISO 639 code.
    """

    title: str
    task: Task | None
    template: Path
    values: Mapping[str, Any]
    tags: Sequence[str] = ()
    license_id: str | None = None
    language: str | None = None

    def write(self, folder: Path, row: Row) -> None:
        """Write the card into the folder of a model, with the test metrics of a row.

        Raises:
            InputError: There is no template.
        """
        text = existing_path(self.template).read_text(encoding="utf-8")
        template = _TEMPLATES.from_string(text)
        body = template.render(self.values, own_license=OWN_LICENSE).strip()
        write_card(
            folder,
            self.title,
            self.task,
            row,
            [body],
            license_id=self.license_id,
            tags=self.tags,
            language=self.language,
        )


def publish(
    run: RunFolder, rows: Sequence[Row], row: Row, report: Report, card: Card, summary: str
) -> None:
    """Write report, results and card of a finished run, print a summary, and upload the model.

    It is for the first of several processes alone.

    Args:
        run: The run; its folder holds the model already.
        rows: The table of models.
        row: The row of the model that is published.
        report: The report; the arguments are added.
        card: The model card.
        summary: What is printed, before where the model and the report are.

    Raises:
        InputError: The upload failed; the model is whole in its folder.
    """
    report.arguments(run.arguments)
    report.write()
    write_results(run.report, run.name, run.arguments["seed"], rows)
    card.write(run.path, row)
    run.close()
    print(f"\n{summary}\n\nModel:  {shell_path(run.path)}")
    print(f"Report: {shell_path(run.report / 'index.html')}")
    if run.destination:
        print(f"Uploaded to {push(run.path, run.destination)}")
