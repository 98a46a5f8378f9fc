"""Features of frozen layers, computed once: the layers above train on them as on the whole model.

While everything below some layer is frozen and the inputs are the same in every epoch, that layer
is given the same features in every epoch. To compute them once saves all but the first of these
passes (feature extraction, as in Donahue et al. 2014, "DeCAF").
"""

import copy
import functools
import hashlib
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, cast

import numpy as np
import psutil
import torch
from accelerate.utils import find_executable_batch_size
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
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
from staged_training.files import written_whole
from staged_training.layer_groups import layer_groups

logger = logging.getLogger(__name__)

Collate = Callable[[list[Any]], Batch]

_EXAMPLES_COMPARED = 8


class FeatureDataset(Dataset):
    """Features and labels of a data set, in its order.

    Attributes:
        columns: `features`, `[examples, ...]`, and the labels of the data set, if it has some, and
            what else the head takes.
            Features of texts have a row for each token; they stand behind one another,
            `[tokens of all examples, ...]`, and `lengths`, `[examples]`, tells whose they are.
    """

    def __init__(self, columns: dict[str, torch.Tensor]) -> None:
        self.columns = columns
        lengths = columns.get("lengths")
        self._ends = None if lengths is None else lengths.cumsum(0).tolist()

    def __len__(self) -> int:
        return len(self.columns.get("lengths", self.columns["features"]))

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        others = {n: v[index] for n, v in self.columns.items() if n not in ("features", "lengths")}
        return {"features": self._features(index), **others}

    def _features(self, index: int) -> torch.Tensor:
        if self._ends is None:
            return self.columns["features"][index]
        end = self._ends[index]
        return self.columns["features"][end - int(self.columns["lengths"][index]) : end]

    def rows(self, indices: Sequence[int] | NDArray[np.int64]) -> "FeatureDataset":
        """Some of the examples."""
        chosen = torch.as_tensor(indices)
        columns = {n: values[chosen] for n, values in self.columns.items() if n != "features"}
        if self._ends is None:
            columns["features"] = self.columns["features"][chosen]
        else:
            columns["features"] = torch.cat([self._features(int(index)) for index in chosen])
        return FeatureDataset(columns)


def collate_features(examples: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """A batch of examples of a `FeatureDataset`; features of shorter texts end in rows of zeros."""
    columns = {name: [example[name] for example in examples] for name in examples[0]}
    features = columns.pop("features")
    alike = len({some.shape for some in features}) == 1  # then one pass over the memory is enough
    joined = torch.stack(features) if alike else nn.utils.rnn.pad_sequence(features, True)
    return {"features": joined, **{n: torch.stack(v) for n, v in columns.items()}}


def compute_features(
    model: nn.Module,
    dataset: Dataset,
    collate: Collate,
    cache: Path | None = None,
    first: int = -1,
) -> FeatureDataset:
    """Run the lower layers of a model over a data set once, in evaluation mode.

    On an accelerator the largest batch that memory allows is found by trying; on a processor small
    batches are fastest, since what passes between layers then stays in its cache. Of several
    processes of a run each computes its share, and all of them get all features.

    Args:
        model: The model, on the device to compute on.
        dataset: The examples, the same whenever they are asked for.
        collate: What makes a batch of examples.
        cache: A file, named after `features_key`, to read the features from or to keep them in.
        first: Index of the layer group whose inputs are the features; by default the head.
    """
    tops = tops_from(model, first)
    faster = functools.partial(_faster, model, dataset, collate, tops)
    return _computed(faster, dataset, collate, cache, tops)


def _computed(
    faster: Callable[[], nn.Module],
    dataset: Dataset,
    collate: Collate,
    cache: Path | None,
    tops: Sequence[str],
) -> FeatureDataset:
    """The features of a data set: those that are in the cache, or else what a model computes."""
    if processes.all_of(bool(cache and cache.exists())):
        return FeatureDataset(load_file(cast(Path, cache)))

    model = faster()
    order = _by_length(dataset)
    batch_size = 256
    if next(model.parameters()).device.type == "cpu":
        batch_size = 32 if _is_text(dataset) else 8
    # In whole batches, so that a feature is what it would be in one process, to the last bit.
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    several = processes.count()
    shares = [list(chain.from_iterable(batches[one::several])) for one in range(several)]
    own = Subset(dataset, shares[processes.number()])

    @find_executable_batch_size(starting_batch_size=batch_size)
    def run(batch_size: int) -> dict[str, torch.Tensor]:
        columns: dict[str, list[torch.Tensor]] = {}
        loader = DataLoader(own, batch_size, collate_fn=collate)
        for batch in tqdm(loader, "features", unit="batch", delay=2, dynamic_ncols=True):
            for name, values in _stored(model, inputs_of(tops, model, batch), batch).items():
                columns.setdefault(name, []).append(values.cpu())
        return {name: torch.cat(parts).contiguous() for name, parts in columns.items()}

    with evaluating(model):
        computed = FeatureDataset(processes.gathered(run()))
    order = list(chain.from_iterable(shares))
    features = computed if _is_ascending(order) else computed.rows(np.argsort(order))
    if cache:
        with written_whole(cache) as path:
            save_file(features.columns, path)
    return features


def _faster(model: nn.Module, dataset: Dataset, collate: Collate, tops: Sequence[str]) -> nn.Module:
    """A model that computes the features of evaluation mode in less time, or the same model.

    Its layers have the same names, but not always the same groups.
    """
    example = cast(Any, dataset)[0]
    with evaluating(model):
        return folded(model, lambda some: inputs_of(tops, some, collate([example])))


def _by_length(dataset: Dataset) -> list[int]:
    """The examples in the order to run them: texts by length, so that little is padded."""
    if _is_text(dataset):
        return np.argsort(
            [len(ids) for ids in cast(Any, dataset)["input_ids"]], kind="stable"
        ).tolist()
    return list(range(len(cast(Sized, dataset))))


def _is_text(dataset: Dataset) -> bool:
    return "input_ids" in (getattr(dataset, "column_names", None) or ())


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
    would not fit into memory.

    Args:
        trainer: The lower layers of its model, at least one group, must be frozen.
        cache: Folder to keep the features in, for other runs on the same base and data.

    Raises:
        InputError: The lowest layers are not frozen.

    Example:
        >>> freeze(model, "backbone")
        >>> with on_features(trainer):
        ...     trainer.train()
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
        head = _head_alone(trainer, data.values(), first)
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


def _head_alone(trainer: Trainer, data: Collection[Dataset], first: int) -> FeatureHead | None:
    """The upper layers alone; `None`, and a warning, where they cannot train on features."""
    model, collate = cast(nn.Module, trainer.model), cast(Collate, trainer.data_collator)
    try:
        _check_storable(model, first, data, collate)
        return FeatureHead(model, collate(_sample(next(iter(data)))[:2]), first)
    except InputError as error:
        logger.warning("The frozen layers run in every epoch, not once: %s", error)
        return None


def _features_of(
    trainer: Trainer, data: Mapping[str, Dataset], cache: Path | None, first: int
) -> dict[str, FeatureDataset]:
    """The features of each data set of a trainer."""
    model, collate = cast(nn.Module, trainer.model), cast(Collate, trainer.data_collator)
    example, tops = next(iter(data.values())), tops_from(model, first)

    @functools.cache  # one for all data sets, and none where the cache has their features
    def faster() -> nn.Module:
        return _faster(model, example, collate, tops)

    files = {part: _cache_file(trainer, dataset, cache, first) for part, dataset in data.items()}
    return {part: _computed(faster, data[part], collate, files[part], tops) for part in data}


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
    model: nn.Module, first: int, data: Collection[Dataset], collate: Collate
) -> None:
    """Refuse features that are not the same in every epoch, or too many to be held in memory."""
    if not all(is_deterministic(dataset, collate) for dataset in data):
        raise InputError("The inputs differ from time to time.")
    sample = _sample(next(iter(data)))
    with evaluating(model):
        batch = collate(sample)
        stored = _stored(model, base_features(model, batch, first), batch)
    examples = sum(len(cast(Sized, dataset)) for dataset in data)
    size = stored["features"].nbytes / len(sample) * examples
    if size > psutil.virtual_memory().available / 2:
        raise InputError(f"Their features would take {size / 2**30:.1f} GB of memory.")


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
    return [dataset[i] for i in range(min(_EXAMPLES_COMPARED, len(cast(Sized, dataset))))]
