"""Features of a frozen base, computed once: the head trains on them as it would on the whole model.

While everything below the head is frozen and the inputs are the same in every epoch, the base gives
the same features in every epoch. To compute them once saves all but the first of these passes
(feature extraction, as in Donahue et al. 2014, "DeCAF").
"""

import copy
import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from accelerate.utils import find_executable_batch_size
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset
from tqdm.auto import tqdm
from transformers import PreTrainedModel, Trainer, default_data_collator

from staged_training.errors import InputError
from staged_training.files import written_whole
from staged_training.layer_groups import layer_groups

logger = logging.getLogger(__name__)

Batch = Mapping[str, torch.Tensor]
Collate = Callable[[list[Any]], Batch]

_TOLERANCE = 1e-5
_EXAMPLES_COMPARED = 8


class FeatureHead(nn.Module):
    """The head of a model as a model of its own, on the features of its base.

    It shares the layers of the head with the model: to train the one is to train the other.

    Args:
        model: A classifier, as `layer_groups` splits it.
        batch: Inputs of the model, to find out in what order its head runs, and that logits and
            loss from features are those of the model.

    Raises:
        InputError: The head cannot be told from the base by running it: it takes more than
            features, or what it computes from them is not what the model computes.
    """

    def __init__(self, model: nn.Module, batch: Batch) -> None:
        super().__init__()
        modules = layer_groups(model)[-1].modules
        tops = [name for name in modules if name.rpartition(".")[0] not in modules]
        ran: list[str] = []
        self._loss = _loss_of(model)
        batch = _on_device_of(model, batch)
        with _evaluating(model), _hooked(model, tops, lambda name, _: ran.append(name)):
            expected = model(**batch)
        self.layers = nn.ModuleList(model.get_submodule(name) for name in dict.fromkeys(ran))
        with _evaluating(model):
            found = self(base_features(model, batch), batch.get("labels"))
        if not all(_close(found[name], expected[name]) for name in found):
            raise InputError(
                f"The head of {type(model).__name__} ({', '.join(tops)}) does not compute the "
                "model's logits and loss from the features of its base alone. Train it without "
                "reusing features."
            )

    def forward(self, features: torch.Tensor, labels: torch.Tensor | None = None) -> dict[str, Any]:
        """Classify features.

        Args:
            features: What the base gives to the head, `[batch, ...]`.
            labels: True labels, `[batch]`.

        Returns:
            `logits`, `[batch, labels]`, and with labels `loss`.
        """
        logits = features
        for layer in self.layers:
            logits = layer(logits)
        loss = {} if labels is None else {"loss": self._loss(logits, labels)}
        return {**loss, "logits": logits}


class FeatureDataset(Dataset):
    """Features and labels of a data set, in its order.

    Attributes:
        columns: `features`, `[examples, ...]`, and the labels of the data set, if it has some.
    """

    def __init__(self, columns: dict[str, torch.Tensor]) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(self.columns["features"])

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {name: values[index] for name, values in self.columns.items()}


def base_features(model: nn.Module, batch: Batch) -> torch.Tensor:
    """What the base of a model gives to its head, `[batch, ...]`, without gradients."""
    head = layer_groups(model)[-1].modules
    found: list[torch.Tensor] = []

    def keep(name: str, inputs: tuple[Any, ...]) -> None:
        found.append(inputs[0])
        raise _HeadReachedError

    inputs = {name: _channels_last(t) for name, t in _on_device_of(model, batch).items()}
    with torch.no_grad(), _hooked(model, list(head), keep):
        try:
            model(**inputs)
        except _HeadReachedError:
            return found[0].detach()
    raise InputError(f"The head of {type(model).__name__} does not run in its forward pass.")


def compute_features(
    model: nn.Module, dataset: Dataset, collate: Collate, cache: Path | None = None
) -> FeatureDataset:
    """Run the base of a model over a data set once, in evaluation mode.

    On an accelerator the largest batch that memory allows is found by trying; on a processor small
    batches are fastest, since what passes between layers then stays in its cache.

    Args:
        model: The model, on the device to compute on.
        dataset: The examples, the same whenever they are asked for.
        collate: What makes a batch of examples.
        cache: A file, named after `features_key`, to read the features from or to keep them in.
    """
    if cache and cache.exists():
        return FeatureDataset(load_file(cache))

    on_processor = next(model.parameters()).device.type == "cpu"

    @find_executable_batch_size(starting_batch_size=8 if on_processor else 256)
    def run(batch_size: int) -> dict[str, torch.Tensor]:
        columns: dict[str, list[torch.Tensor]] = {}
        loader = DataLoader(dataset, batch_size, collate_fn=collate)
        for batch in tqdm(loader, "features", unit="batch", delay=2, dynamic_ncols=True):
            features = base_features(model, batch)
            columns.setdefault("features", []).append(features.cpu())
            if "labels" in batch:
                columns.setdefault("labels", []).append(batch["labels"])
        return {name: torch.cat(parts).contiguous() for name, parts in columns.items()}

    with _evaluating(model):
        columns = run()
    if cache:
        with written_whole(cache) as path:
            save_file(columns, path)
    return FeatureDataset(columns)


@contextmanager
def on_features(trainer: Trainer, cache: Path | None = None) -> Iterator[None]:
    """Let a `Trainer` train and evaluate the head of its model on stored features meanwhile.

    The weights that it trains are those of the model. With inputs that differ from time to time, as
    augmentation makes them, it trains the whole model as ever, and says so.

    Args:
        trainer: Its model's base must be frozen.
        cache: Folder to keep the features in, for other runs on the same base and data.

    Raises:
        InputError: The base is not frozen, or the head cannot be run alone; see `FeatureHead`.

    Example:
        >>> freeze(model, "backbone")
        >>> with on_features(trainer):
        ...     trainer.train()
    """
    model = cast(nn.Module, trainer.model)
    for group in layer_groups(model)[:-1]:
        if any(parameter.requires_grad for parameter in group.parameters.values()):
            raise InputError(
                f"Features can be reused where the whole base is frozen, but {group.name} is "
                "trained. Freeze it first: freeze(model, 'backbone')."
            )
    parts = ("train_dataset", "eval_dataset")
    data = {part: d for part in parts if (d := getattr(trainer, part, None)) is not None}
    collate = cast(Collate, trainer.data_collator)
    if not all(is_deterministic(dataset, collate) for dataset in data.values()):
        logger.warning(
            "The inputs differ from time to time, so the features of the base are not reused: "
            "every epoch runs the whole model."
        )
        yield
        return
    first = next(iter(data.values()))
    head = FeatureHead(model, collate([first[i] for i in range(min(len(first), 2))]))
    replaced: dict[str, Any] = {
        part: compute_features(model, dataset, collate, _cache_file(trainer, dataset, cache))
        for part, dataset in data.items()
    }
    replaced |= {"model": head, "model_wrapped": head, "data_collator": default_data_collator}
    replaced |= {"args": copy.copy(trainer.args), "_signature_columns": None}
    replaced["args"].train_sampling_strategy = "random"  # features have no lengths to group by
    before = {name: getattr(trainer, name) for name in replaced}
    try:
        for name, value in replaced.items():
            setattr(trainer, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(trainer, name, value)


def _cache_file(trainer: Trainer, dataset: Dataset, cache: Path | None) -> Path | None:
    """The file of the features of a data set, if there is a cache and a way to tell its content."""
    # `datasets.Dataset` keeps its own under a private name.
    fingerprint = getattr(dataset, "fingerprint", getattr(dataset, "_fingerprint", None))
    if cache is None or fingerprint is None:
        return None
    processing = getattr(trainer.processing_class, "to_json_string", str)()
    key = features_key(cast(nn.Module, trainer.model), fingerprint, processing)
    return cache / f"{key}.safetensors"


def features_key(model: nn.Module, *data: str) -> str:
    """A name for the features of some data: it changes with any weight of the base or of `data`.

    Args:
        model: The model; its head does not count.
        data: What tells the examples and their preprocessing, such as the fingerprint of a data set
            and the settings of a processor.
    """
    digest = hashlib.sha256("\0".join(data).encode())
    head = layer_groups(model)[-1].modules
    for name, tensor in model.state_dict().items():
        if name.rpartition(".")[0] not in head:
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def is_deterministic(dataset: Dataset, collate: Collate) -> bool:
    """Whether the first examples come out the same twice, as they do without augmentation."""
    sample = Subset(dataset, range(min(_EXAMPLES_COMPARED, len(dataset))))  # type: ignore[arg-type]
    first, second = (collate([sample[i] for i in range(len(sample))]) for _ in range(2))
    return all(torch.equal(first[name], second[name]) for name in first)


class _HeadReachedError(Exception):
    """Ends a forward pass where the head would begin."""


def _on_device_of(model: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
    device = next(model.parameters()).device
    return {name: tensor.to(device) for name, tensor in batch.items()}


def _channels_last(tensor: torch.Tensor) -> torch.Tensor:
    """The memory layout in which convolutions are fastest, for images; anything else as it is."""
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


def _close(found: torch.Tensor, expected: torch.Tensor) -> bool:
    return found.shape == expected.shape and bool((found - expected).abs().max() <= _TOLERANCE)


def _loss_of(model: nn.Module) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """The loss of a model from its logits and labels."""
    if isinstance(model, PreTrainedModel) and model.loss_type is not None:
        return lambda logits, labels: model.loss_function(labels, logits, model.config)
    return nn.functional.cross_entropy


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


@contextmanager
def _hooked(
    model: nn.Module, names: Sequence[str], hook: Callable[[str, tuple[Any, ...]], None]
) -> Iterator[None]:
    """Call `hook` with its name and inputs whenever one of the named modules runs."""
    handles = [
        model.get_submodule(name).register_forward_pre_hook(
            lambda _, inputs, name=name: hook(name, inputs)
        )
        for name in names
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
