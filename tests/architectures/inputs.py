"""Unequal examples for each kind of task, and what makes a batch of them."""

import inspect
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import nn
from torch.nn.functional import pad

from tests.architectures.configs import BEGIN, END, IMAGE, PADDING

Example = dict[str, torch.Tensor]

LABELS = 3
LABEL_NAMES = ("labels", "start_positions", "end_positions")
_WORDS = range(8, 48)  # below them stand the special tokens of all models, and above them too
_MULTIPLES = {"mra": 32, "nystromformer": 16, "reformer": 16}
"""Models of texts whose length must be a multiple of a number."""


def examples(model: nn.Module, task: str, count: int, seed: int = 0) -> list[Example]:
    """Make examples of different content and, where the model allows it, of different lengths.

    Args:
        model: The model that takes them, with the names of its inputs.
        task: As in `cases.MAPPINGS`.
        count: How many.
        seed: Of their content.
    """
    generator = torch.Generator().manual_seed(seed)
    takes = set(inspect.signature(model.forward).parameters)
    make: Callable[..., Example] = _MAKERS[task]
    return [make(model.config, takes, number, generator) for number in range(count)]


def collator(model: nn.Module) -> Callable[[Sequence[Example]], Example]:
    """Return what makes a batch: it pads on the right, to the longest of the batch."""
    multiple = _MULTIPLES.get(model.config.model_type, 1)

    def collate(batch: Sequence[Example]) -> Example:
        return {name: _padded(name, [one[name] for one in batch], multiple) for name in batch[0]}

    return collate


def _padded(name: str, tensors: list[torch.Tensor], multiple: int) -> torch.Tensor:
    value = {"input_ids": PADDING, "labels": -100}.get(name, 0)
    shape = [max(sizes) for sizes in zip(*(t.shape for t in tensors), strict=True)]
    if name in ("input_ids", "attention_mask", "token_type_ids", "labels") and shape:
        shape[-1] = -(-shape[-1] // multiple) * multiple
    return torch.stack([pad(t, list(_missing(t, shape)), value=value) for t in tensors])


def _missing(tensor: torch.Tensor, shape: list[int]) -> Iterator[int]:
    """Yield what `pad` takes: for each dimension, from the last, none before and how many after."""
    for have, want in zip(reversed(tensor.shape), reversed(shape), strict=True):
        yield from (0, want - have)


def _text(config, takes, number, generator) -> Example:
    length = 5 + (number * 5) % 8
    words = torch.randint(_WORDS.start, _WORDS.stop, (length - 2,), generator=generator)
    ids = torch.cat([torch.tensor([BEGIN]), words, torch.tensor([END])])
    text = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if "bbox" in takes:
        corners = torch.randint(0, 50, (length, 2), generator=generator)
        text["bbox"] = torch.cat([corners, corners + 20], 1)
        if config.model_type == "bros":
            text["bbox"] = text["bbox"] / 100
    if config.model_type == "layoutlmv3":
        text["pixel_values"] = torch.randn(3, IMAGE, IMAGE, generator=generator)
    if config.model_type == "gemma3":
        text["token_type_ids"] = torch.zeros_like(ids)
    if "visual_feats" in takes:
        text["visual_feats"] = torch.randn(4, config.visual_feat_dim, generator=generator)
        text["visual_pos"] = torch.rand(4, config.visual_pos_dim, generator=generator)
    if config.model_type == "longformer":
        ids[2:4] = END  # between question and text
    return text


def _labelled(example: Example, number: int) -> Example:
    return {**example, "labels": torch.tensor(number % LABELS)}


def _sequence(config, takes, number, generator) -> Example:
    return _labelled(_text(config, takes, number, generator), number)


def _tokens(config, takes, number, generator) -> Example:
    text = _text(config, takes, number, generator)
    labels = text["input_ids"] % LABELS
    labels[0] = labels[-1] = -100
    return {**text, "labels": labels}


def _question(config, takes, number, generator) -> Example:
    text = _text(config, takes, number, generator)
    if "start_positions" not in takes:  # the answers are classes
        return _labelled(text, number)
    end = len(text["input_ids"]) - 2
    # The loss is over all places of a batch, padding too, which is why questions are usually padded
    # to one length.
    length = _MULTIPLES.get(config.model_type, 16)
    return {
        **{name: _lengthened(name, t, len(text["input_ids"]), length) for name, t in text.items()},
        "start_positions": torch.tensor(1 + number % 2),
        "end_positions": torch.tensor(end),
    }


def _lengthened(name: str, tensor: torch.Tensor, tokens: int, length: int) -> torch.Tensor:
    if not tensor.ndim or len(tensor) != tokens:  # such as an image beside a text
        return tensor
    value = PADDING if name == "input_ids" else 0
    return pad(tensor, (*(0, 0) * (tensor.ndim - 1), 0, length - tokens), value=value)


def _choices(config, takes, number, generator) -> Example:
    choices = [_text(config, takes, number + 3 * choice, generator) for choice in range(2)]
    columns = {name: _padded(name, [c[name] for c in choices], 1) for name in choices[0]}
    return {**columns, "labels": torch.tensor(number % 2)}


def _image(config, takes, number, generator) -> Example:
    kind = config.model_type
    if kind == "imagegpt":
        ids = torch.randint(*(_WORDS.start, _WORDS.stop), (16,), generator=generator)
        return _labelled({"input_ids": ids}, number)
    if "spatial_shapes" in takes:
        vision = config.vision_config
        rows, columns = 2 + number % 3, 2 + number % 2
        mask = (torch.arange(vision.num_patches) < rows * columns).long()
        size = vision.num_channels * vision.patch_size**2
        patches = torch.randn(vision.num_patches, size, generator=generator) * mask[:, None]
        shape = torch.tensor([rows, columns])
        return _labelled(
            {"pixel_values": patches, "pixel_attention_mask": mask, "spatial_shapes": shape}, number
        )
    side = getattr(config, "image_size", None) or IMAGE
    side = side if isinstance(side, int) else side[-1]
    pixels = torch.randn(3, side, side, generator=generator) + number / 8
    return _labelled({"pixel_values": pixels}, number)


def _video(config, takes, number, generator) -> Example:
    frames = next(
        getattr(config, n) for n in ("frames_per_clip", "num_frames") if n in vars(config)
    )
    name = "pixel_values_videos" if "pixel_values_videos" in takes else "pixel_values"
    pixels = torch.randn(frames, 3, IMAGE, IMAGE, generator=generator) + number / 8
    return _labelled({name: pixels}, number)


def _audio(config, takes, number, generator) -> Example:
    kind = config.model_type
    if kind == "whisper":
        shape: tuple[int, ...] = (config.num_mel_bins, 2 * config.max_source_positions)
        return _labelled({"input_features": torch.randn(shape, generator=generator)}, number)
    if kind == "audio-spectrogram-transformer":
        shape = (config.max_length, config.num_mel_bins)
        return _labelled({"input_values": torch.randn(shape, generator=generator)}, number)
    if kind == "wav2vec2-bert":
        frames = 12 + (number * 5) % 8
        shape = (frames, config.feature_projection_input_dim)
        features = torch.randn(shape, generator=generator)
        mask = torch.ones(frames, dtype=torch.long)
        return _labelled({"input_features": features, "attention_mask": mask}, number)
    if getattr(config, "feat_extract_norm", "") == "group":
        # It normalises over time, padding too, and is to be given sounds of one length and no mask.
        return _labelled({"input_values": torch.randn(600, generator=generator)}, number)
    samples = 400 + 100 * (number % 5)
    sound = torch.randn(samples, generator=generator)
    mask = torch.ones(samples, dtype=torch.long)
    return _labelled({"input_values": sound, "attention_mask": mask}, number)


_MAKERS = {
    "sequence classification": _sequence,
    "token classification": _tokens,
    "image classification": _image,
    "video classification": _video,
    "audio classification": _audio,
    "question answering": _question,
    "multiple choice": _choices,
    "timm": _image,
}
