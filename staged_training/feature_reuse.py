"""Features of frozen layers, computed once: the layers above train on them as on the whole model.

While everything below some layer is frozen and the inputs are the same in every epoch, that layer
is given the same features in every epoch. To compute them once saves all but the first of these
passes (feature extraction, as in Donahue et al. 2014, "DeCAF").
"""

import copy
import functools
import hashlib
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from accelerate.utils import find_executable_batch_size
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset
from tqdm.auto import tqdm
from transformers import Trainer

from staged_training import processes
from staged_training.batch_norm_folding import folded
from staged_training.errors import InputError
from staged_training.feature_head import (
    Batch,
    FeatureHead,
    base_features,
    evaluating,
    inputs_of,
    inputs_of_head,
    modules_from,
    tops_from,
)
from staged_training.feature_store import (
    FeatureDataset,
    collate_features,
    kept,
    read,
    room_for_features,
)
from staged_training.layer_groups import layer_groups

logger = logging.getLogger(__name__)

Collate = Callable[[list[Any]], Batch]

_EXAMPLES_COMPARED = 8
# How much of the data is run, by length if it is text, before its features are kept.
_EXAMPLES_AT_ONCE, _TOKENS_AT_ONCE = 256, 2**17


def compute_features(
    model: nn.Module,
    dataset: Dataset | Iterable[Any],
    collate: Collate,
    cache: Path | None = None,
    first: int = -1,
) -> FeatureDataset:
    """Run the lower layers of a model over a data set once, in evaluation mode.

    On an accelerator the largest batch that memory allows is found by trying; on a processor small
    batches are fastest, since what passes between layers then stays in its cache. Of several
    processes of a run each computes its share, and all of them get all features.

    Neither the data nor their features need fit into memory, see `feature_store.kept`.

    Args:
        model: The model, on the device to compute on.
        dataset: The examples, the same whenever they are asked for, and in each process. They may
            come in a stream, such as a `datasets.IterableDataset`, which is read once, by each.
        collate: What makes a batch of examples.
        cache: A file, named after `features_key`, to read the features from or to keep them in.
        first: Index of the layer group whose inputs are the features; by default the head.

    Raises:
        InputError: There is no example, or the features were kept neither in memory nor on disk.
    """
    tops = tops_from(model, first)
    faster = functools.partial(_faster, model, collate, tops)
    return _computed(faster, dataset, collate, cache, tops)


def _computed(
    faster: Callable[[Any], nn.Module],
    dataset: Dataset | Iterable[Any],
    collate: Collate,
    cache: Path | None,
    tops: Sequence[str],
) -> FeatureDataset:
    """The features of a data set: those that are in the cache, or else what a model computes.

    Args:
        faster: Makes the model, from an example.
        dataset: As for `compute_features`; so are those that follow.
        collate: What makes a batch of examples.
        cache: The file of the cache.
        tops: The layers whose inputs are the features.
    """
    if processes.all_of(bool(cache and cache.exists())):
        return read(cast(Path, cache))
    parts = _computed_parts(faster, dataset, collate, tops)
    return kept(parts, cache)


def _computed_parts(
    faster: Callable[[Any], nn.Module],
    dataset: Dataset | Iterable[Any],
    collate: Collate,
    tops: Sequence[str],
) -> Iterator[dict[str, torch.Tensor]]:
    """Yield the columns of each window, see `_windows`."""
    windows = _windows(dataset)
    first = next(windows, None)
    if first is None:
        return
    example = first[0][0]
    model = faster(example)
    several = processes.count()

    def run(batch_size: int, own: Dataset) -> dict[str, torch.Tensor]:
        columns: dict[str, list[torch.Tensor]] = {}
        for batch in DataLoader(own, batch_size, collate_fn=collate):
            features = inputs_of(tops, model, batch)
            for name, values in _stored(model, features, batch).items():
                columns.setdefault(name, []).append(values.cpu())
            bar.update(several * len(features))
        return {name: torch.cat(parts).contiguous() for name, parts in columns.items()}

    if next(model.parameters()).device.type == "cpu":
        batch_size = 32 if _is_text(example) else 8
        run_own: Callable[[Dataset], dict[str, torch.Tensor]] = functools.partial(run, batch_size)
    else:
        batch_size = 256
        run_own = find_executable_batch_size(run, starting_batch_size=batch_size)

    def columns_of(
        examples: Sequence[Any] | Subset, order: Sequence[int]
    ) -> dict[str, torch.Tensor]:
        # In whole batches, so that a feature is what it would be in one process, to the last bit.
        batches = [order[at : at + batch_size] for at in range(0, len(order), batch_size)]
        shares = [list(chain.from_iterable(batches[one::several])) for one in range(several)]
        own = Subset(cast(Dataset, examples), shares[processes.number()])
        with evaluating(model):
            computed = FeatureDataset(processes.gathered(run_own(own)))
        ran = list(chain.from_iterable(shares))
        return (computed if _is_ascending(ran) else computed.rows(np.argsort(ran))).columns

    total = len(dataset) if isinstance(dataset, Sized) else None
    with tqdm(None, "features", total, unit="example", delay=2, dynamic_ncols=True) as bar:
        done = 0
        windows = chain([first], windows)
        del first  # no window is held here while the next is read and run
        for examples, order in windows:
            yield columns_of(examples, order)
            bar.n = done = done + len(order)
            del examples, order


def _windows(
    dataset: Dataset | Iterable[Any],
) -> Iterator[tuple[Sequence[Any] | Subset, Sequence[int]]]:
    """Yield neighbouring examples, as many as are run before any is kept, and in which order.

    Texts are run by length, so that little is padded.
    """
    at_once = _EXAMPLES_AT_ONCE * processes.count()
    if isinstance(dataset, Sized) and not _is_text_data(dataset):
        for start in range(0, len(dataset), at_once):  # each is looked up with its batch
            rows = range(start, min(start + at_once, len(dataset)))
            yield Subset(cast(Dataset, dataset), rows), range(len(rows))
        return
    window: list[Any] = []
    filled = 0.0
    for example in cast(Iterable[Any], dataset):
        window.append(example)
        text = _is_text(example)
        filled += len(example["input_ids"]) / _TOKENS_AT_ONCE if text else 1 / at_once
        if filled >= 1:
            yield window, _by_length(window)
            window, filled = [], 0.0
    if window:
        yield window, _by_length(window)


def _faster(model: nn.Module, collate: Collate, tops: Sequence[str], example: Any) -> nn.Module:
    """A model that computes the features of evaluation mode in less time, or the same model.

    Its layers have the same names, but not always the same groups.
    """
    with evaluating(model):
        return folded(model, lambda some: inputs_of(tops, some, collate([example])))


def _by_length(examples: Sequence[Any]) -> Sequence[int]:
    """The numbers of examples in the order to run them."""
    if _is_text(examples[0]):
        lengths = [len(example["input_ids"]) for example in examples]
        return np.argsort(lengths, kind="stable").tolist()
    return range(len(examples))


def _is_text_data(dataset: Any) -> bool:
    return "input_ids" in (getattr(dataset, "column_names", None) or ())


def _is_text(example: Any) -> bool:
    return isinstance(example, Mapping) and "input_ids" in example


def _is_ascending(order: Sequence[int]) -> bool:
    return all(position == index for position, index in enumerate(order))


def _stored(model: nn.Module, features: torch.Tensor, batch: Batch) -> dict[str, torch.Tensor]:
    """The columns of a `FeatureDataset` for a batch; of texts, what is padding is left out."""
    columns = {name: batch[name] for name in inputs_of_head(model, batch)}
    mask = batch.get("attention_mask")
    if mask is None or features.ndim < 3 or features.shape[:2] != mask.shape:
        return {"features": features, **columns}
    return {
        "features": features[mask.bool().to(features.device)],
        "lengths": mask.sum(1),
        **columns,
    }


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

    Example:
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
    trainer: Trainer, data: Collection[Dataset], cache: Path | None, first: int
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
    trainer: Trainer, data: Mapping[str, Dataset], cache: Path | None, first: int
) -> dict[str, FeatureDataset]:
    """The features of each data set of a trainer."""
    model, collate = cast(nn.Module, trainer.model), cast(Collate, trainer.data_collator)
    tops = tops_from(model, first)
    example = _sample(next(iter(data.values())))[0]

    @functools.cache  # one for all data sets, and none where the cache has their features
    def faster() -> nn.Module:
        return _faster(model, collate, tops, example)

    files = {part: _cache_file(trainer, dataset, cache, first) for part, dataset in data.items()}
    return {
        part: _computed(lambda _: faster(), data[part], collate, files[part], tops) for part in data
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
    data: Collection[Dataset],
    collate: Collate,
    cache: Path | None,
) -> None:
    """Refuse features that are not the same in every epoch, or too many to be kept anywhere."""
    if not all(is_deterministic(dataset, collate) for dataset in data):
        raise InputError("The inputs differ from time to time.")
    sample = _sample(next(iter(data)))
    with evaluating(model):
        batch = collate(sample)
        stored = _stored(model, base_features(model, batch, first), batch)
    examples = sum(len(dataset) for dataset in data if isinstance(dataset, Sized))
    size = stored["features"].nbytes / len(sample) * examples
    if size > room_for_features(cache):
        raise InputError(f"Their features would take {size / 2**30:.1f} GB of memory or disk.")


def _cache_file(trainer: Trainer, dataset: Dataset, cache: Path | None, first: int) -> Path | None:
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


def is_deterministic(dataset: Dataset, collate: Collate) -> bool:
    """Whether the first examples come out the same twice, as they do without augmentation."""
    first, second = (collate(_sample(dataset)) for _ in range(2))
    return all(torch.equal(first[name], second[name]) for name in first)


def _sample(dataset: Dataset) -> list[Any]:
    """The first examples."""
    if isinstance(dataset, Sized):
        return [dataset[i] for i in range(min(_EXAMPLES_COMPARED, len(dataset)))]
    return list(islice(cast(Iterable[Any], dataset), _EXAMPLES_COMPARED))
