"""Features of frozen layers, computed once: the layers above train on them as on the whole model.

While everything below some layer is frozen and the inputs are the same in every epoch, that layer
is given the same features in every epoch. To compute them once saves all but the first of these
passes (feature extraction, as in Donahue et al. 2014, "DeCAF").
"""

import functools
import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any, cast

import datasets
import numpy as np
import torch
from accelerate.utils import send_to_device
from torch import nn
from torch.utils.data import Dataset
from transformers import Trainer

from staged_training.features.calls import random_state
from staged_training.features.columns import (
    FEATURES,
    Batch,
    Collate,
    Columns,
    checked_batch,
    numbers_in,
)
from staged_training.features.cut import CannotReuseError
from staged_training.features.extraction import computed, faster_model
from staged_training.features.head import modules_from
from staged_training.features.replay import on_stored
from staged_training.features.store import room_for_features
from staged_training.features.trial import is_mixed, tried
from staged_training.layers import layer_groups
from staged_training.runtime import processes
from staged_training.runtime.errors import InputError

logger = logging.getLogger(__name__)

_SAMPLE = 8
_NOT_TRIED = (
    "training_step",
    "prediction_step",
    "_prepare_inputs",
    "get_train_dataloader",
    "get_eval_dataloader",
    "_get_train_sampler",
)
"""Methods of a trainer that may change what a model is given, or read its data sets."""


@contextmanager
def on_features(trainer: Trainer, cache: Path | None = None) -> Iterator[None]:
    """Let a `Trainer` train and evaluate the upper layers of its model on stored features.

    The model runs its own forward pass, with its own inputs, loss and outputs; only the frozen
    layers whose results for an example never change do not run in it, but give what was stored.
    What other data it is given, as in `trainer.predict(others)`, it computes as ever.

    Before that, a few unequal examples run whole and on features, in evaluation and in training
    (see `features.trial`). Where loss, outputs, gradients or buffers differ, it trains the whole
    model, and says so. It does, too, where inputs differ from time to time, as augmentation makes
    them, where an example's features depend on those beside it, and where the features would fit
    neither into memory nor on the disk of temporary files.

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
    if not first_trained(model):
        raise InputError(
            "Features can be reused where the lower layers are frozen, but "
            f"{layer_groups(model)[0].name} is trained. Freeze it first: freeze(model, 'backbone')."
        )
    # Training then draws the numbers, for dropout, that it would draw without features.
    with torch.random.fork_rng():
        try:
            columns, features = _stored(trainer, cache)
        except CannotReuseError as error:
            name = type(model).__name__
            _warn_once(f"The frozen layers run in every epoch, not once: {error} ({name}).")
            columns = None
    if columns is None:
        yield
        return
    filtered = trainer._get_collator_with_removed_columns(trainer.data_collator)

    def collate(examples: list[Any]) -> Any:
        is_stored = isinstance(examples[0], Mapping) and FEATURES in examples[0]
        return columns.batch(examples) if is_stored else filtered(examples)

    replaced: dict[str, Any] = {**features, "data_collator": collate}
    replaced["_get_collator_with_removed_columns"] = lambda *_, **__: collate
    replaced["floating_point_ops"] = lambda _: 0  # those of whole passes are not done
    with _replaced(trainer, replaced), on_stored(model, columns):
        yield


@contextmanager
def _replaced(trainer: Trainer, attributes: Mapping[str, Any]) -> Iterator[None]:
    """Replace attributes of a trainer within the context."""
    before = {name: vars(trainer)[name] for name in attributes if name in vars(trainer)}
    vars(trainer).update(attributes)
    try:
        yield
    finally:
        for name in attributes:
            del vars(trainer)[name]
        vars(trainer).update(before)


@functools.cache
def _warn_once(message: str) -> None:
    """Warn once, not in each of many folds."""
    logger.warning(message)


def _stored(trainer: Trainer, cache: Path | None) -> tuple[Columns, dict[str, Any]]:
    """Return what is stored of the examples of a trainer, and its data sets in that form.

    Raises:
        CannotReuseError: Some process cannot train on features.
    """
    filtered = trainer._get_collator_with_removed_columns(trainer.data_collator)

    def collate(examples: list[Any]) -> Batch:
        batch: Batch = send_to_device(checked_batch(filtered(examples)), trainer.args.device)
        return batch

    data = _data_of(trainer)
    columns, tried_on, reason = None, "", "another process cannot"
    try:
        columns, tried_on = _tried_columns(trainer, [d for _, d in data.values()], collate, cache)
    except CannotReuseError as error:
        reason = str(error)
    if not processes.all_of(columns is not None) or columns is None:
        raise CannotReuseError(reason)
    try:
        return columns, _features_of(trainer, data, columns, tried_on, collate, cache)
    except CannotReuseError as error:
        if processes.count() > 1:  # the others go on, and would wait for this one
            raise InputError(f"Train without reusing features: {error}.") from error
        raise


def _tried_columns(
    trainer: Trainer, data: Sequence[Any], collate: Collate, cache: Path | None
) -> tuple[Columns, str]:
    """Return the columns to store, tried on a few examples, and a digest of those stored."""
    if isinstance(trainer.model, torch._dynamo.OptimizedModule) or trainer.args.torch_compile:
        raise CannotReuseError("a compiled model runs as a whole")
    own = [name for name in _NOT_TRIED if _is_of_user(trainer, name)]
    if own:
        raise CannotReuseError(f"{type(trainer).__name__} has its own {', '.join(own)}")
    if trainer.args.n_gpu > 1 or trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        raise CannotReuseError("a model that is spread over devices runs as a whole")
    samples = [_steady_sample(dataset, collate) for dataset in data]
    columns, stored = tried(trainer, collate, [example for some in samples for example in some])
    if columns.widest:
        columns = columns.with_padding(_longest(data, collate), collate)
    size = sum(example[FEATURES].nbytes for example in stored) / len(stored)
    size *= sum(len(dataset) for dataset in data if isinstance(dataset, Sized))
    if size > room_for_features(cache):
        raise CannotReuseError(f"they would take {size / 2**30:.1f} GB of memory or disk")
    kept = (_bytes_of(tensor) for example in stored for tensor in example.values())
    return columns, hashlib.sha256(b"".join(kept)).hexdigest()


def _is_of_user(trainer: Trainer, method: str) -> bool:
    """Return whether a method is neither of `transformers` nor of this package."""
    package = getattr(type(trainer), method).__module__.partition(".")[0]
    return package not in ("transformers", "staged_training")


def _features_of(
    trainer: Trainer,
    data: Mapping[tuple[str, str], tuple[Any, Any]],
    columns: Columns,
    tried_on: str,
    collate: Collate,
    cache: Path | None,
) -> dict[str, Any]:
    """Return the data sets of a trainer as features, by the attributes that hold them."""

    def columns_of(model: nn.Module, examples: list[Any]) -> Batch:
        with trainer.accelerator.autocast():
            return columns.compute(model, examples, collate)

    @functools.cache  # one for all data sets, and none where the cache has their features
    def faster() -> nn.Module:
        example = _sample(next(iter(data.values()))[1])[:1]
        model = cast(nn.Module, trainer.model)
        if is_mixed(trainer):  # 16 bits round folded weights to others
            return model
        return faster_model(model, lambda some: columns_of(some, example)[FEATURES])

    features: dict[str, Any] = {}
    for (part, name), (original, dataset) in data.items():
        kept = (columns.inputs, columns.idle, columns.cut.values, columns.widest, tried_on)
        file = _cache_file(trainer, original, cache, repr(kept))
        own = computed(lambda _: faster(), columns_of, dataset, file)
        several = features.get(part, getattr(trainer, part))
        features[part] = {**several, name: own} if name else own
    return features


def _data_of(trainer: Trainer) -> dict[tuple[str, str], tuple[Any, Any]]:
    """Return the data sets of a trainer, by attribute and name: as given, and as they are read."""
    found: dict[tuple[str, str], Any] = {}
    for part in ("train_dataset", "eval_dataset"):
        data = getattr(trainer, part, None)
        if isinstance(data, dict):
            found |= {(part, name): dataset for name, dataset in data.items()}
        elif data is not None:
            found[part, ""] = data
    found = {key: d for key, d in found.items() if not isinstance(d, Sized) or len(d)}
    return {
        key: (d, trainer._remove_unused_columns(d) if isinstance(d, datasets.Dataset) else d)
        for key, d in found.items()
    }


def first_trained(model: nn.Module) -> int:
    """Return the index of the lowest layer group of which anything is trained.

    Raises:
        InputError: All is frozen.
    """
    for index, group in enumerate(layer_groups(model)):
        if any(parameter.requires_grad for parameter in group.parameters.values()):
            return index
    raise InputError(f"Every layer of {type(model).__name__} is frozen: nothing can be trained.")


def _cache_file(
    trainer: Trainer, dataset: Dataset[Any], cache: Path | None, kept: str
) -> Path | None:
    """Return the feature file of a data set, if there is a cache and a key to its content."""
    # `datasets.Dataset` keeps its own under a private name.
    fingerprint = getattr(dataset, "fingerprint", getattr(dataset, "_fingerprint", None))
    if cache is None or fingerprint is None:
        return None
    model = cast(nn.Module, trainer.model)
    processing = getattr(trainer.processing_class, "to_json_string", str)()
    key = features_key(model, fingerprint, processing, kept, first=first_trained(model))
    return cache / f"{key}.safetensors"


def features_key(model: nn.Module, *data: str, first: int = -1) -> str:
    """Return a name for the features of data; it changes with the weights below and the data.

    Args:
        model: The model; its layers from `first` on do not count.
        data: What identifies the examples and their preprocessing, such as the fingerprint of a
            data set and the settings of a processor.
        first: Index of the layer group whose inputs are the features; by default the head.
    """
    digest = hashlib.sha256("\0".join(data).encode())
    upper = modules_from(model, first)
    for name, tensor in model.state_dict().items():
        if name.rpartition(".")[0] not in upper:
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(_bytes_of(tensor))
    return digest.hexdigest()


def _bytes_of(tensor: torch.Tensor) -> bytes:
    """Return the content of a tensor, also of a type that NumPy does not have."""
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()


def _steady_sample(dataset: Dataset[Any], collate: Collate) -> list[Any]:
    """Return some examples that come out the same twice, and draw no random number.

    Augmentation that strikes seldom draws a number all the same.

    Raises:
        CannotReuseError: They do not.
    """
    state = random_state()
    examples = _unequal(dataset)
    first, is_drawn = collate(examples), random_state() != state
    second = collate(_unequal(dataset))
    if is_drawn or not all(torch.equal(first[name], second[name]) for name in first):
        raise CannotReuseError("an example gives other inputs each time")
    return examples


def _sample(dataset: Dataset[Any]) -> list[Any]:
    """Return some examples: the first of a stream, else from all over the data."""
    if isinstance(dataset, Sized):
        rows = np.linspace(0, len(dataset) - 1, min(_SAMPLE, len(dataset))).astype(int)
        return [dataset[int(row)] for row in rows]
    return list(islice(cast(Iterable[Any], dataset), _SAMPLE))


def _unequal(dataset: Any) -> list[Any]:
    """Return some examples; where lengths can be had at once, also the shortest and the longest."""
    if isinstance(dataset, datasets.Dataset) and "input_ids" in dataset.column_names:
        lengths = [len(row) for row in dataset["input_ids"]]
        ends = [int(np.argmin(lengths)), int(np.argmax(lengths))]
        return [*_sample(dataset), *(dataset[row] for row in ends)]
    return _sample(dataset)


def _longest(data: Iterable[Any], collate: Collate) -> Any:
    """Return the longest example of all."""

    everything = chain.from_iterable(
        map(dataset.__getitem__, range(len(dataset))) if hasattr(dataset, "__len__") else dataset
        for dataset in data
    )
    return max(everything, key=lambda example: numbers_in(collate([example])))
