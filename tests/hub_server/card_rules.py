"""What the Hub demands of the front matter of a model card, as far as cards here use it."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

LICENSES = ("apache-2.0", "mit", "cc-by-4.0", "cc-by-sa-4.0", "cc0-1.0", "bsd-3-clause", "other")
PIPELINES = (
    "text-classification",
    "image-classification",
    "object-detection",
    "image-to-text",
    "text-generation",
    "feature-extraction",
    "fill-mask",
)
NAME = re.compile(r"(?:[\w-]+/)?[\w.-]+")
FRONT_MATTER = re.compile(r"\A---\r?\n(.*?)\r?\n---\r?\n", re.DOTALL)


def errors_in_card(files: Mapping[str, Any]) -> list[str]:
    """What is wrong with the card among the files of a commit, if there is one."""
    card = files.get("README.md")
    return errors_in_text(card.content.decode("utf-8")) if card else []


def errors_in_text(text: str) -> list[str]:
    """What is wrong with the front matter of a card."""
    match = FRONT_MATTER.match(text)
    if not match:
        return []  # the Hub warns of it only
    try:
        data = yaml.safe_load(match[1])
    except yaml.YAMLError as error:
        return [f"Invalid YAML: {error}"]
    if not isinstance(data, dict):
        return ["The front matter must be a mapping."]
    return [*_errors_in_fields(data), *_errors_in_model_index(data.get("model-index"))]


def _errors_in_fields(data: dict[str, Any]) -> Iterator[str]:
    if data.get("license", LICENSES[0]) not in LICENSES:
        yield f'"license" must be one of {", ".join(LICENSES)}'
    if data.get("pipeline_tag", PIPELINES[0]) not in PIPELINES:
        yield f'"pipeline_tag" must be one of {", ".join(PIPELINES)}'
    if not isinstance(data.get("library_name", ""), str):
        yield '"library_name" must be a string'
    tags = data.get("tags", [])
    if not isinstance(tags, list) or not all(isinstance(tag, str) and tag for tag in tags):
        yield '"tags" must be an array of strings'
    languages = data.get("language", [])
    for language in [languages] if isinstance(languages, str) else languages:
        if not re.fullmatch(r"[a-z]{2,3}", str(language)):
            yield f'"language" must be an ISO 639 code, not {language!r}'
    for key in ("base_model", "datasets"):
        names = data.get(key, [])
        for name in [names] if isinstance(names, str) else names:
            if not NAME.fullmatch(str(name)):
                yield f'"{key}" with value "{name}" is not valid. Use an id of the Hub.'


def _errors_in_model_index(index: Any) -> Iterator[str]:
    if index is None:
        return
    if not isinstance(index, list):
        yield '"model-index" must be an array'
        return
    for number, model in enumerate(index):
        where = f"model-index[{number}]"
        if not model.get("name"):
            yield f'"{where}.name" is required'
        for position, result in enumerate(model.get("results", [])):
            yield from _errors_in_result(f"{where}.results[{position}]", result)


def _errors_in_result(where: str, result: dict[str, Any]) -> Iterator[str]:
    if not result.get("task", {}).get("type"):
        yield f'"{where}.task.type" is required'
    data_set = result.get("dataset", {})
    for key in ("type", "name"):
        if not data_set.get(key):
            yield f'"{where}.dataset.{key}" is required'
    if not NAME.fullmatch(str(data_set.get("type", ""))):
        yield f'"{where}.dataset.type" fails to match the required pattern: {NAME.pattern}'
    metrics = result.get("metrics") or []
    if not metrics:
        yield f'"{where}.metrics" is required'
    for metric in metrics:
        if not metric.get("type"):
            yield f'"{where}.metrics.type" is required'
        value = metric.get("value")
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            yield f'"{where}.metrics.value" must be a number'
