"""The notebook, executed; and what it prints."""

import re
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

FILE = Path(__file__).parents[2] / "docs" / "lecture.ipynb"
LONGEST = 600  # seconds that a cell may take


def kept() -> NotebookNode:
    """The notebook as it lies in the guide."""
    return nbformat.read(FILE, as_version=4)


def executed(effort, sections=None):
    """The notebook, or some of its sections, executed anew in a process of its own.

    With `effort` as the share of its training; section 0 is what stands before the first.
    """
    notebook = kept()
    if sections is not None:
        notebook.cells = [cell for number, cell in numbered(notebook) if number in sections]
    cells = notebook.cells
    parameters = next(cell for cell in cells if "parameters" in cell.metadata.get("tags", ()))
    source, parameters.source = parameters.source, f"EFFORT = {effort}"
    with tempfile.TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        NotebookClient(notebook, timeout=LONGEST, resources=resources).execute()
    parameters.source = source
    return notebook


def numbered(notebook):
    """Each cell with the number of its section."""
    number = 0
    for cell in notebook.cells:
        if heading := re.search(r"(?m)^## (\d+)\.", cell.source):
            number = int(heading[1])
        yield number, cell


def cleaned(notebook):
    """The same without progress bars and times: what cells print, and pictures."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if _is_kept(output)]
    return notebook


def _is_kept(output):
    if output.output_type == "stream":
        return output.name == "stdout"
    return "image/png" in output.get("data", {})


def printed(notebook):
    """The lines that the cells print."""
    streams = (
        output.text
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type == "stream" and output.name == "stdout"
    )
    return "".join(streams).splitlines()
