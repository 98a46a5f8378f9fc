"""Whether a model that was loaded works: what was loaded goes together, and gives numbers."""

import math
import re
from collections.abc import Iterable, Mapping
from reprlib import repr as beginning
from typing import Any, cast, get_args

import numpy as np
import torch
from transformers import Pipeline

from staged_training import InputError
from staged_training.tables.labels import ProblemType

_MOST_PIXELS = 8192  # along a side
_MOST_EPSILON = 0.1  # published models have up to 1e-3


def check_labels(opened: Pipeline) -> None:
    """Refuse labels that are none, or alike."""
    model, config = opened.model.name_or_path, opened.model.config
    labels = list((config.id2label or {}).values())
    if not all(map(_is_text, labels)) or len({*labels}) < len(labels):
        raise InputError(f"{model}: its labels are {labels}; each needs a name of its own.")
    positive = getattr(config, "positive_label", None)
    if positive is not None and positive not in labels:
        raise InputError(f"{model}: its positive_label, {positive!r}, is none of {labels}.")


def check_problem_type(opened: Pipeline) -> None:
    """Refuse a model that predicts nothing known, or other than its outputs and labels say."""
    model, config = opened.model.name_or_path, opened.model.config
    kind, count = config.problem_type, len(config.id2label or {})
    one_label, several_labels, number = get_args(ProblemType)
    wrong = None
    if kind not in (None, one_label, several_labels, number):
        wrong = f"its problem_type is {beginning(kind)}, which is unknown"
    elif kind == number and count != 1:
        wrong = f"predicts a number, as its problem_type says, and has {count} outputs"
    elif kind in (several_labels, number) and getattr(config, "positive_label", None) is not None:
        wrong = f"has a positive_label, but its problem_type is {kind}"
    if wrong:
        raise InputError(f"{model}: {wrong}. Copy config.json anew.")


def _is_text(label: object) -> bool:
    return isinstance(label, str) and not re.search("[\ud800-\udfff]", label)  # half a character


def check_scores(opened: Pipeline, results: Iterable[Mapping[str, Any]]) -> None:
    """Refuse scores that are no numbers."""
    model = opened.model.name_or_path
    if not all(math.isfinite(found["score"]) for found in results):
        raise InputError(f"{model}: its scores are no numbers; it is damaged. Copy it anew.")


def check_tokenizer(opened: Pipeline) -> None:
    """Refuse a tokenizer whose tokens are none of the model, or that cuts texts to nothing."""
    tokenizer: Any = opened.tokenizer
    numbers = list(tokenizer.get_vocab().values())
    rows = getattr(opened.model.get_input_embeddings(), "num_embeddings", math.inf)
    if len({*numbers}) < len(numbers) or max(numbers) >= rows:
        raise InputError(
            f"{opened.model.name_or_path}: its tokenizer is damaged, or not that of its "
            "weights. Copy the model anew."
        )
    longest = tokenizer.model_max_length
    if type(longest) not in (int, float) or longest <= tokenizer.num_special_tokens_to_add():
        raise InputError(
            f"{opened.model.name_or_path}: its model_max_length is {longest!r}; texts cannot be "
            "cut to that. Give the number of tokens that it reads, in tokenizer_config.json."
        )


def check_norms(opened: Pipeline) -> None:
    """Refuse layers that normalize by what is no small number."""
    for name, module in opened.model.named_modules():
        eps = getattr(module, "eps", getattr(module, "variance_epsilon", None))
        if eps is not None and not 0 < eps < _MOST_EPSILON:
            raise InputError(
                f"{opened.model.name_or_path}: the epsilon of {name} is {eps!r}; it is a small "
                "number, such as 1e-5. Copy config.json anew."
            )


def check_processor(opened: Pipeline) -> None:
    """Refuse images that are made enormous, before memory for one is taken, or other colours."""
    processor: Any = opened.image_processor or cast(Any, opened.processor).image_processor
    settings = vars(processor)
    settings = settings | (settings.get("data_config") or {})
    wanted = [settings.get(name) for name in ("size", "crop_size", "pad_size", "input_size")]
    numbers = re.findall(r"-?\d[\d.e+]*", str(wanted))
    if any(not 0 < float(number) <= _MOST_PIXELS for number in numbers):
        raise InputError(
            f"{opened.model.name_or_path}: its images would be of the size {wanted}. Copy the "
            "model anew."
        )
    most = 1 if settings.get("do_rescale", True) else 255
    for name in ("image_mean", "mean", "image_std", "std", "rescale_factor"):
        values = [value for value in np.ravel(settings.get(name)) if value is not None]
        if not all(0 <= value <= most and (value or "mean" in name) for value in values):
            raise InputError(
                f"{opened.model.name_or_path}: the {name} of its images is {settings[name]}, not "
                f"from 0 to {most}. Copy preprocessor_config.json or config.json anew."
            )


def check_ct(opened: Pipeline) -> None:
    """Refuse a way to read scans that is none, before a scan is read."""
    model, ct = opened.model.name_or_path, getattr(opened.model.config, "ct", None)
    if ct is None:
        return
    from vision_transfer.ct.dataset import check_layout  # needs the extra `vision`
    from vision_transfer.ct.windows import windowed

    try:
        check_layout(ct["size"], ct["spacing"])
        windowed(torch.zeros(1), ct["window"])
    except (InputError, KeyError, TypeError) as error:
        raise InputError(
            f"{model}: its `ct`, {beginning(ct)}, is no way to read scans ({error!s}). Copy the "
            "model anew."
        ) from error
