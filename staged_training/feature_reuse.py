"""Features of frozen layers, computed once: the layers above train on them as on the whole model.

While everything below some layer is frozen and the inputs are the same in every epoch, that layer
is given the same features in every epoch. To compute them once saves all but the first of these
passes (feature extraction, as in Donahue et al. 2014, "DeCAF").
"""

import copy
import functools
import hashlib
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.utils.data import Dataset
from transformers import Trainer

from staged_training import processes
from staged_training.errors import InputError
from staged_training.feature_extraction import Collate, computed, faster_model, stored_columns
from staged_training.feature_head import (
    FeatureHead,
    base_features,
    evaluating,
    modules_from,
    tops_from,
)
from staged_training.feature_store import (
    FeatureDataset,
    collate_features,
    room_for_features,
)
from staged_training.layers import layer_groups

logger = logging.getLogger(__name__)

_EXAMPLES_COMPARED = 8


@contextmanager
def on_features(trainer: Trainer, cache: Path | None = None) -> Iterator[None]:
    """Let a `Trainer` train and evaluate the upper layers of its model on stored features.

    The features are what the lowest layer group that is not frozen is given: the bottleneck, where
    the head is trained alone. The weights that it trains are those of the model. It trains the
    whole model as ever, and says so, where inputs differ from time to time, as augmentation makes
    them, where the upper layers cannot be run alone (see `FeatureHead`), and where the features
    would fit neither into memory nor on the disk of temporary files.

    Its data may come in a stream, such as a `datasets.IterableDataset`: the features are trained on
    in shuffled order, as those of other data.

    Args:
        trainer: The lower layers of its model, at least one group, must be frozen.
        cache: Folder to keep the features in, for other runs on the same base and data.

    Raises:
        InputError: The lowest layers are not frozen.

    Examples:
        >>> from staged_training import freeze
        >>> from transformers import Trainer
        >>> freeze(model, "backbone")
        >>> trainer = Trainer(model, args, train_dataset=train, processing_class=tokenizer)
        >>> with on_features(trainer):
        ...     trainer.train_dataset.columns["features"].shape
        ...     trainer.train()
        torch.Size([24, 132])
        {'train_runtime': ...}
        TrainOutput(global_step=3, ...)
    """
    model = cast(nn.Module, trainer.model)
    first = first_trained(model)
    if not first:
        raise InputError(
            "Features can be reused where the lower layers are frozen, but "
            f"{layer_groups(model)[0].name} is trained. Freeze it first: freeze(model, 'backbone')."
        )
    parts = ("train_dataset", "eval_dataset")
    data = {part: d for part in parts if (d := getattr(trainer, part, None)) is not None}
    # Training then draws the numbers, for dropout, that it would draw without features.
    with torch.random.fork_rng(devices=[]):
        head = _head_alone(trainer, data.values(), cache, first)
        if not processes.all_of(head is not None):
            head = None
        features = _features_of(trainer, data, cache, first) if head else {}
    if head is None:
        yield
        return
    replaced: dict[str, Any] = {**features}
    replaced |= {"model": head, "model_wrapped": head, "data_collator": collate_features}
    replaced |= {"args": copy.copy(trainer.args), "_signature_columns": None}
    replaced |= {"model_accepts_loss_kwargs": False}  # the head's loss is a mean over the batch
    replaced["args"].train_sampling_strategy = "random"  # features have no lengths to group by
    replaced["args"].remove_unused_columns = False  # there are none
    before = {name: getattr(trainer, name) for name in replaced}
    try:
        for name, value in replaced.items():
            setattr(trainer, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(trainer, name, value)


def _head_alone(
    trainer: Trainer, data: Collection[Dataset[Any]], cache: Path | None, first: int
) -> FeatureHead | None:
    """The upper layers alone; `None`, and a warning, where they cannot train on features."""
    model, collate = cast(nn.Module, trainer.model), cast(Collate, trainer.data_collator)
    try:
        _check_storable(model, first, data, collate, cache)
        return FeatureHead(model, collate(_sample(next(iter(data)))[:2]), first)
    except InputError as error:
        logger.warning("The frozen layers run in every epoch, not once: %s", error)
        return None


def _features_of(
    trainer: Trainer, data: Mapping[str, Dataset[Any]], cache: Path | None, first: int
) -> dict[str, FeatureDataset]:
    """The features of each data set of a trainer."""
    model, collate = cast(nn.Module, trainer.model), cast(Collate, trainer.data_collator)
    tops = tops_from(model, first)
    example = _sample(next(iter(data.values())))[0]

    @functools.cache  # one for all data sets, and none where the cache has their features
    def faster() -> nn.Module:
        return faster_model(model, collate, tops, example)

    files = {part: _cache_file(trainer, dataset, cache, first) for part, dataset in data.items()}
    return {
        part: computed(lambda _: faster(), data[part], collate, files[part], tops) for part in data
    }


def first_trained(model: nn.Module) -> int:
    """The index of the lowest layer group of which anything is trained.

    Raises:
        InputError: All is frozen.
    """
    for index, group in enumerate(layer_groups(model)):
        if any(parameter.requires_grad for parameter in group.parameters.values()):
            return index
    raise InputError(f"Every layer of {type(model).__name__} is frozen: nothing can be trained.")


def _check_storable(
    model: nn.Module,
    first: int,
    data: Collection[Dataset[Any]],
    collate: Collate,
    cache: Path | None,
) -> None:
    """Refuse features that are not the same in every epoch, or too many to be kept anywhere."""
    if not all(is_deterministic(dataset, collate) for dataset in data):
        raise InputError("The inputs differ from time to time.")
    sample = _sample(next(iter(data)))
    with evaluating(model):
        batch = collate(sample)
        stored = stored_columns(model, base_features(model, batch, first), batch)
    examples = sum(len(dataset) for dataset in data if isinstance(dataset, Sized))
    size = stored["features"].nbytes / len(sample) * examples
    if size > room_for_features(cache):
        raise InputError(f"Their features would take {size / 2**30:.1f} GB of memory or disk.")


def _cache_file(
    trainer: Trainer, dataset: Dataset[Any], cache: Path | None, first: int
) -> Path | None:
    """The file of the features of a data set, if there is a cache and a way to tell its content."""
    # `datasets.Dataset` keeps its own under a private name.
    fingerprint = getattr(dataset, "fingerprint", getattr(dataset, "_fingerprint", None))
    if cache is None or fingerprint is None:
        return None
    processing = getattr(trainer.processing_class, "to_json_string", str)()
    key = features_key(cast(nn.Module, trainer.model), fingerprint, processing, first=first)
    return cache / f"{key}.safetensors"


def features_key(model: nn.Module, *data: str, first: int = -1) -> str:
    """A name for the features of some data: it changes with any weight they depend on and the data.

    Args:
        model: The model; its layers from `first` on do not count.
        data: What tells the examples and their preprocessing, such as the fingerprint of a data set
            and the settings of a processor.
        first: Index of the layer group whose inputs are the features; by default the head.
    """
    digest = hashlib.sha256("\0".join(data).encode())
    upper = modules_from(model, first)
    for name, tensor in model.state_dict().items():
        if name.rpartition(".")[0] not in upper:
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def is_deterministic(dataset: Dataset[Any], collate: Collate) -> bool:
    """Whether the first examples come out the same twice, as they do without augmentation."""
    first, second = (collate(_sample(dataset)) for _ in range(2))
    return all(torch.equal(first[name], second[name]) for name in first)


def _sample(dataset: Dataset[Any]) -> list[Any]:
    """The first examples."""
    if isinstance(dataset, Sized):
        return [dataset[i] for i in range(min(_EXAMPLES_COMPARED, len(dataset)))]
    return list(islice(cast(Iterable[Any], dataset), _EXAMPLES_COMPARED))
