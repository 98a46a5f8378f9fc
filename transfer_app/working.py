"""Whether a model that was loaded works: what was loaded goes together, and gives numbers."""

import math
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from reprlib import repr as beginning
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from transformers import Pipeline
from transformers.utils import logging

from staged_training import InputError

_TEXT = "Subject: Lunch\n\nCall me before noon."
_MOST_PIXELS = 8192  # along a side
_MOST_EPSILON = 0.1  # published models have up to 1e-3
_IMAGE = Image.new("RGB", (64, 48), "gray")


def check_working(opened: Pipeline) -> None:
    """Try a model on a short text or a small image, before what it is asked for is read.

    Raises:
        InputError: Its labels are none, its texts are cut to nothing, or its scores are no numbers.
        Exception: Of any kind, where its parts do not go together.
    """
    model, config = opened.model.name_or_path, opened.model.config
    labels = list((config.id2label or {}).values())
    if not all(isinstance(label, str) for label in labels) or len({*labels}) < len(labels):
        raise InputError(f"{model}: its labels are {labels}; each needs a name of its own.")
    positive = getattr(config, "positive_label", None)
    if positive is not None and positive not in labels:
        raise InputError(f"{model}: its positive_label, {positive!r}, is none of {labels}.")
    _check_norms(opened)
    if opened.task == "text-classification":
        _check_tokenizer(opened)
    else:
        _check_processor(opened)
        _check_ct(opened)
    if opened.task == "text-classification":
        results = opened([_TEXT], truncation=True)
    elif opened.task == "image-classification":
        results = opened([torch.full((1, 48, 64), 0.5) if getattr(config, "ct", None) else _IMAGE])
    elif opened.task == "object-detection":
        results = opened([_IMAGE], threshold=0.0)
    else:
        opened([_IMAGE], text=[""])
        return
    if not all(math.isfinite(found["score"]) for found in results[0]):
        raise InputError(f"{model}: its scores are no numbers; it is damaged. Copy it anew.")


def _check_tokenizer(opened: Pipeline) -> None:
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


def _check_norms(opened: Pipeline) -> None:
    """Refuse layers that normalize by what is no small number."""
    for name, module in opened.model.named_modules():
        eps = getattr(module, "eps", getattr(module, "variance_epsilon", None))
        if eps is not None and not 0 < eps < _MOST_EPSILON:
            raise InputError(
                f"{opened.model.name_or_path}: the epsilon of {name} is {eps!r}; it is a small "
                "number, such as 1e-5. Copy config.json anew."
            )


def _check_processor(opened: Pipeline) -> None:
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


def _check_ct(opened: Pipeline) -> None:
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


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep libraries from warning of what is told better as an error."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)


@contextmanager
def quiet_rust() -> Iterator[None]:
    """Keep the tokenizers from reporting a panic, which Python gets as an error too."""
    if sys.__stderr__ is None:  # closed
        yield
        return
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
