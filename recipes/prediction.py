"""Predictions of a trained text classifier, as a table for people or JSON for programs."""

import json
import sys
from collections.abc import Iterator, Sequence

from tqdm.auto import tqdm
from transformers import Pipeline, pipeline

from nlp_transfer.emails import read_texts
from staged_training import InputError


def predict(
    model: str, inputs: Sequence[str], text_columns: Sequence[str] | None, *, as_json: bool
) -> None:
    """Classify texts and print a table sorted by urgency, or one JSON object per input.

    Args:
        model: Folder or Hub name of the model.
        inputs: Files to read, as for `read_texts`, or `-` for lines of standard input.
        text_columns: Columns of a table to read as text.
        as_json: Print JSON, in the order of the inputs.

    Raises:
        InputError: An input cannot be read, or there is no model.
    """
    named_texts = [pair for source in inputs for pair in _named_texts(source, text_columns)]
    classifier = open_classifier(model)
    positive = getattr(classifier.model.config, "positive_label", "")
    rows = []
    for name, text, scores in classify(classifier, named_texts):
        label = max(scores, key=scores.__getitem__)
        if as_json:
            print(json.dumps({"input": name, "label": label, "scores": scores}))
        else:
            rows.append((scores.get(positive, scores[label]), label, name, text))
    if not as_json:
        print(prediction_table(sorted(rows, key=lambda row: -row[0])))


def open_classifier(model: str) -> Pipeline:
    """The `text-classification` pipeline of a model.

    Raises:
        InputError: There is no model that can be loaded.
    """
    try:
        return pipeline("text-classification", model=model, top_k=None)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{model}: no model could be loaded from there ({str(error).splitlines()[0]}). Give "
            "the folder that a recipe wrote (its --output-dir), or a name on the Hub."
        ) from error


def classify(
    classifier: Pipeline, named_texts: Sequence[tuple[str, str]]
) -> Iterator[tuple[str, str, dict[str, float]]]:
    """Yield name, text and scores by label of each text, in order."""
    texts = (text for _, text in named_texts)
    results = classifier(texts, batch_size=32, truncation=True)
    bar = tqdm(results, total=len(named_texts), unit="text", delay=2, dynamic_ncols=True)
    for (name, text), labels in zip(named_texts, bar, strict=True):
        yield name, text, {item["label"]: round(item["score"], 4) for item in labels}


def prediction_table(rows: Sequence[tuple[float, str, str, str]], width: int = 100) -> str:
    """Score, label, name and beginning of each text, one line each."""
    columns = [(f"{score:.2f}", label, name) for score, label, name, _ in rows]
    widths = [max(len(cells[i]) for cells in columns) for i in range(3)] if columns else []
    lines = []
    for cells, (_, _, _, text) in zip(columns, rows, strict=True):
        fixed = "  ".join(cell.ljust(size) for cell, size in zip(cells, widths, strict=True))
        lines.append(f"{fixed}  {' '.join(text.split())}"[:width])
    return "\n".join(lines)


def _named_texts(source: str, text_columns: Sequence[str] | None) -> list[tuple[str, str]]:
    if source != "-":
        dataset = read_texts(source, text_columns).dataset
        return list(zip(dataset["input"], dataset["text"], strict=True))
    return [(f"-#{n}", line) for n, line in enumerate(sys.stdin, start=1) if line.strip()]
