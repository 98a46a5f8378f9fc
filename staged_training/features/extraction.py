"""Features of every example, computed once: fast, and by all processes together."""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from itertools import chain
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from accelerate.utils import find_executable_batch_size
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset
from tqdm.auto import tqdm

from staged_training.features.compiled import IMAGES_IN_BATCH, Base, fastest
from staged_training.features.folding import folded
from staged_training.features.head import (
    Batch,
    evaluating,
    inputs_of_head,
    upper_modules_from,
)
from staged_training.features.store import FeatureDataset, column, kept, read
from staged_training.runtime import processes

Collate = Callable[[list[Any]], Batch]

# How much of the data is run, by length if it is text, before its features are kept.
_EXAMPLES_AT_ONCE, _TOKENS_AT_ONCE = 256, 2**17
_TEXTS_IN_BATCH = 32


def compute_features(
    model: nn.Module,
    dataset: Dataset[Any] | Iterable[Any],
    collate: Collate,
    cache: Path | None = None,
    first_group: int = -1,
) -> FeatureDataset:
    """Run the lower layers of a model over a data set once, in evaluation mode.

    On an accelerator the largest batch that memory allows is found by trying; on a processor small
    batches are fastest, since what passes between layers then stays in its cache. Of several
    processes of a run each computes its share, and all of them get all features.

    Neither the data nor their features need fit into memory, see `store.kept`.

    Args:
        model: The model, on the device to compute on.
        dataset: The examples, the same whenever they are asked for, and in each process. They may
            come in a stream, such as a `datasets.IterableDataset`, which is read once, by each.
        collate: What makes a batch of examples.
        cache: A file, named after `features_key`, to read the features from or to keep them in.
        first_group: Index of the layer group whose inputs are the features; by default the head.

    Raises:
        InputError: There is no example, or the features were kept neither in memory nor on disk.

    Examples:
        >>> from transformers import DataCollatorWithPadding
        >>> features = compute_features(model, train, DataCollatorWithPadding(tokenizer))
        >>> features.columns["features"].shape
        torch.Size([24, 132])
    """
    base, others = Base(model, upper_modules_from(model, first_group)), inputs_of_head(model)

    def faster(example: Any) -> nn.Module:
        def batch_of(count: int) -> Batch:
            rows = range(1, count)
            return collate([example, *(cast(Dataset[Any], dataset)[row] for row in rows)])

        is_known = isinstance(dataset, Sized) and not _is_text(example)
        return fastest(base, batch_of, len(cast(Sized, dataset)) if is_known else 0)

    def columns_of(base: nn.Module, examples: list[Any]) -> dict[str, torch.Tensor]:
        batch = collate(examples)
        return stored_columns(base(**batch), batch, others)

    return computed(faster, columns_of, dataset, cache)


def computed(
    faster: Callable[[Any], nn.Module],
    run_on: Callable[[nn.Module, list[Any]], dict[str, torch.Tensor]],
    dataset: Dataset[Any] | Iterable[Any],
    cache: Path | None,
) -> FeatureDataset:
    """Return the features of a data set, from the cache or else computed by a model.

    Args:
        faster: Makes the model, from an example.
        run_on: Runs it on examples; gives their columns, on the processor.
        dataset: As for `compute_features`.
        cache: The file of the cache.
    """
    if processes.all_of(bool(cache and cache.exists())):
        return read(cast(Path, cache))
    parts = _parts(faster, run_on, dataset)
    return kept(parts, cache)


def _parts(
    faster: Callable[[Any], nn.Module],
    run_on: Callable[[nn.Module, list[Any]], dict[str, torch.Tensor]],
    dataset: Dataset[Any] | Iterable[Any],
) -> Iterator[dict[str, torch.Tensor]]:
    """Yield the columns of each window, see `_windows`."""
    windows = _windows(dataset)
    first = next(windows, None)
    if first is None:
        return
    example = first[0][0]
    model = faster(example)
    several = processes.count()

    def run(batch_size: int, own: Dataset[Any]) -> dict[str, torch.Tensor]:
        columns: dict[str, list[torch.Tensor]] = {}
        for some in DataLoader(own, batch_size, collate_fn=list):
            for name, values in run_on(model, some).items():
                columns.setdefault(name, []).append(values.cpu())
            bar.update(several * len(some))
        return {name: torch.cat(parts).contiguous() for name, parts in columns.items()}

    if next(model.parameters()).device.type == "cpu":
        batch_size = _TEXTS_IN_BATCH if _is_text(example) else IMAGES_IN_BATCH
        run_own: Callable[[Dataset[Any]], dict[str, torch.Tensor]] = functools.partial(
            run, batch_size
        )
    else:
        batch_size = 256
        run_own = find_executable_batch_size(run, starting_batch_size=batch_size)

    def columns_of(
        examples: Sequence[Any] | Subset[Any], order: Sequence[int]
    ) -> dict[str, torch.Tensor]:
        # In whole batches, so that a feature is what it would be in one process, to the last bit.
        batches = [order[at : at + batch_size] for at in range(0, len(order), batch_size)]
        shares = [list(chain.from_iterable(batches[one::several])) for one in range(several)]
        own = Subset(cast(Dataset[Any], examples), shares[processes.number()])
        with evaluating(model):
            features = FeatureDataset(processes.all_gather(run_own(own)))
        ran = list(chain.from_iterable(shares))
        return (features if _is_ascending(ran) else features.rows(np.argsort(ran))).columns

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
    dataset: Dataset[Any] | Iterable[Any],
) -> Iterator[tuple[Sequence[Any] | Subset[Any], Sequence[int]]]:
    """Yield neighbouring examples, as many as are run before any is stored, and their order.

    Texts are run by length, so that little is padded.
    """
    at_once = _EXAMPLES_AT_ONCE * processes.count()
    if isinstance(dataset, Sized) and not _is_text_data(dataset):
        for start in range(0, len(dataset), at_once):  # each is looked up with its batch
            rows = range(start, min(start + at_once, len(dataset)))
            yield Subset(cast(Dataset[Any], dataset), rows), range(len(rows))
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


def faster_model(model: nn.Module, run: Callable[[nn.Module], torch.Tensor]) -> nn.Module:
    """Return a model that computes features in evaluation mode faster, or the same model.

    Its layers have the same names, but not always the same groups.

    Args:
        model: The model.
        run: Runs such a model on an example; gives its features.
    """
    with evaluating(model):
        return folded(model, run)


def _by_length(examples: Sequence[Any]) -> Sequence[int]:
    """Return the numbers of examples in the order to run them."""
    if _is_text(examples[0]):
        lengths = [len(example["input_ids"]) for example in examples]
        order: list[int] = np.argsort(lengths, kind="stable").tolist()
        return order
    return range(len(examples))


def _is_text_data(dataset: Any) -> bool:
    return "input_ids" in (getattr(dataset, "column_names", None) or ())


def _is_text(example: Any) -> bool:
    return isinstance(example, Mapping) and "input_ids" in example


def _is_ascending(order: Sequence[int]) -> bool:
    return all(position == index for position, index in enumerate(order))


def stored_columns(
    features: torch.Tensor, batch: Batch, others: set[str]
) -> dict[str, torch.Tensor]:
    """Return the columns of a `FeatureDataset` for a batch, without the padding of texts.

    Args:
        features: Those of the batch.
        batch: The inputs of the model.
        others: The names of the inputs that are kept beside features.
    """
    columns = {name: values for name, values in batch.items() if name in others}
    mask = batch.get("attention_mask")
    if mask is None or features.ndim < 3 or features.shape[:2] != mask.shape:
        return {"features": features, **columns}
    real = mask.bool().to(features.device)
    return (
        column("features", [row[own] for row, own in zip(features, real, strict=True)], ragged=True)
        | columns
    )
