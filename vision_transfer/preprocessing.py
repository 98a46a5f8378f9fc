"""The preprocessing of an image model's pretraining, and a check that inputs get the same."""

from typing import Any, cast

from transformers import BaseImageProcessor

from staged_training.runtime.errors import InputError


def preprocessing(processor: BaseImageProcessor) -> dict[str, Any]:
    """Describe what a processor does to the pixels of an image, in values that can be compared.

    Returns:
        `size` (height and width of what the model sees), `mean`, `std`, `interpolation` and
        `channel_order`.
    """
    if hasattr(processor, "data_config"):  # of a timm model
        config = processor.data_config
        return {
            "size": tuple(config["input_size"][1:]),
            "mean": tuple(config["mean"]),
            "std": tuple(config["std"]),
            "interpolation": config["interpolation"],
            "channel_order": "RGB",
        }
    of_images = cast(Any, processor)  # its settings are not declared in the class
    cropped = getattr(processor, "do_center_crop", False)
    size = dict(of_images.crop_size if cropped else of_images.size)
    side = size.get("shortest_edge")
    rescaled = getattr(processor, "do_rescale", True)
    normalized = getattr(processor, "do_normalize", True)
    resample = getattr(processor, "resample", None)
    return {
        "size": (size.get("height", side), size.get("width", side)),
        "mean": tuple(of_images.image_mean) if normalized else (0.0, 0.0, 0.0),
        "std": tuple(of_images.image_std) if normalized else (1.0, 1.0, 1.0),
        "interpolation": _INTERPOLATIONS.get(int(resample)) if resample is not None else None,
        "channel_order": "BGR" if getattr(processor, "do_flip_channel_order", False) else "RGB",
        **({} if rescaled else {"scale": "0 to 255"}),
    }


def resized_side(processor: BaseImageProcessor) -> int | None:
    """Return the length that a processor gives the shorter side of an image, before it crops it.

    Returns:
        The length in pixels; `None` of a processor that does anything else to the size of images,
        adds a border, or works on tensors, whose pixels differ from those of Pillow.
    """
    steps = getattr(getattr(processor, "val_transforms", None), "transforms", None) or []
    if [type(step).__name__ for step in steps[:2]] != ["Resize", "CenterCrop"]:
        return None
    side = steps[0].size
    return side if isinstance(side, int) and side >= max(steps[1].size) else None


# Numbers of PIL.Image.Resampling, in which processors are saved.
_INTERPOLATIONS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}


def check_preprocessing(given: BaseImageProcessor, expected: BaseImageProcessor) -> None:
    """Refuse a processor that gives a model other pixels than its pretraining did.

    A frozen base computes features of what it was trained on; other means, sizes or channel orders
    cost accuracy without any error to see.

    Args:
        given: The processor at hand.
        expected: That of the pretrained weights, from `load_backbone`.

    Raises:
        InputError: They disagree; both values are shown.
    """
    found, wanted = preprocessing(given), preprocessing(expected)
    differing = [
        f"{name} is {found.get(name)} and was {wanted.get(name)}"
        for name in sorted(found.keys() | wanted.keys())
        if not _agree(found.get(name), wanted.get(name))
    ]
    if differing:
        raise InputError(
            f"The processor does not prepare images as the pretraining did: {'; '.join(differing)}."
            " Use the processor that comes with the weights."
        )


def _agree(found: Any, wanted: Any) -> bool:
    if isinstance(found, tuple) and isinstance(wanted, tuple):
        return len(found) == len(wanted) and all(
            abs(a - b) < 1e-3 for a, b in zip(found, wanted, strict=True)
        )
    return bool(found == wanted)
