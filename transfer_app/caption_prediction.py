"""Captions of photos by a trained captioner, as a table for people or JSON for programs."""

import json
from collections.abc import Iterator, Sequence

from transformers import AutoModelForImageTextToText, AutoProcessor, Pipeline, pipeline

from staged_training.pretrained import load_whole
from staged_training.runtime.printable import one_line
from transfer_app.inputs import Input

TASK = "image-text-to-text"
_BATCH = 32


def open_captioner(model: str) -> Pipeline:
    """The pipeline of a captioner, from its folder or its name on the Hub."""
    return pipeline(
        "image-text-to-text",
        load_whole(AutoModelForImageTextToText, model),
        processor=AutoProcessor.from_pretrained(model, trust_remote_code=False),
    )


def captions(captioner: Pipeline, inputs: Sequence[Input]) -> Iterator[tuple[Input, str]]:
    """Yield each photo with what the model says of it, in order."""
    from vision_transfer.images import load_rgb  # needs the extra `vision`

    for start in range(0, len(inputs), _BATCH):
        some = inputs[start : start + _BATCH]
        images = [load_rgb(item.content) for item in some]
        for item, result in zip(some, captioner(images, text=[""] * len(some)), strict=True):
            yield item, result["generated_text"]


def print_captions(captioner: Pipeline, inputs: Sequence[Input], *, as_json: bool) -> None:
    """Print a line for each photo: its name and its caption, or one JSON object."""
    width = max(len(one_line(item.name)) for item in inputs)
    for item, caption in captions(captioner, inputs):
        fields = {"input": item.name, "caption": caption}
        line = f"{one_line(item.name).ljust(width)}  {one_line(caption)}"
        print(json.dumps(fields) if as_json else line)
