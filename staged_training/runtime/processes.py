"""The processes of a run that `accelerate launch` or `torchrun` began: one writes, all read.

Each of them runs the same program. Training and the computation of features are shared among them;
what is done once, the main process does, and sends the result to the others. In a run of one
process, all of this does nothing.
"""

import os
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import distributed

from staged_training.runtime.errors import InputError

Result = TypeVar("Result")

ONE_BATCH = {"split_batches": True}
"""`TrainingArguments(accelerator_config=ONE_BATCH)`: the size of a batch is that of what all
processes take together in a step, so that more of them learn the same, sooner."""

TOLD_BY_LAUNCHER = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
"""What is in the environment of a process that a launcher began."""

_MOST = 8  # the smallest batch that they share
_PATIENCE = timedelta(days=7)  # for what the first does alone; one that dies is noticed at once


def join(*, share_batches: bool = True) -> None:
    """Join the other processes of a distributed run, if any; silence all but the main process.

    Args:
        share_batches: Whether they take parts of each batch; else there may be any number.

    Raises:
        InputError: They are so many that a batch cannot be shared evenly.
    """
    count = int(os.environ.get("WORLD_SIZE", 1))
    if count == 1:
        return
    if share_batches and (count > _MOST or _MOST % count):
        raise InputError(f"{count} processes cannot share batches evenly. Start 2, 4 or {_MOST}.")
    if os.environ["RANK"] != "0":
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115
        os.environ |= {"TQDM_DISABLE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    on_processors = not torch.accelerator.is_available()
    if on_processors:  # else `TrainingArguments` would take each process for the only one
        os.environ["ACCELERATE_USE_CPU"] = "true"
    from accelerate import PartialState

    PartialState(cpu=on_processors, timeout=_PATIENCE)


def leave() -> None:
    """Wait until all processes have finished, and leave the process group."""
    if _several():
        distributed.barrier()
        distributed.destroy_process_group()


def number() -> int:
    """Return the rank of this process, 0 for the main process."""
    return distributed.get_rank() if _several() else 0


def count() -> int:
    """Return the number of processes."""
    return distributed.get_world_size() if _several() else 1


def own_device() -> torch.device:
    """Return the device of this process among several: one accelerator each, or the processor."""
    from accelerate import PartialState

    return cast(torch.device, PartialState().device)


def is_main_process() -> bool:
    """Return whether this process is the one that writes and reports."""
    return number() == 0


def on_main_process(work: Callable[[], Result]) -> Result:
    """Run work in the main process, once all have come to this point; return its result in all.

    Raises:
        InputError: The work raised it; then it is raised in all processes.
    """
    if not _several():
        return work()
    distributed.barrier()
    told: list[Any] = [None, None]
    if is_main_process():
        try:
            told[0] = work()
        except InputError as error:
            told[1] = error
    distributed.broadcast_object_list(told)
    if told[1] is not None:
        raise told[1]
    return cast(Result, told[0])


def all_of(condition: bool) -> bool:
    """Return whether something holds in all processes."""
    return all(_all_gather_object(condition))


def all_gather(columns: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Gather the rows of all processes, in the order of their ranks, in each of them.

    Args:
        columns: Tensors on the processor, `[rows, ...]`; a process that has no rows has none.
    """
    if not _several():
        return dict(columns)
    described = {name: (tuple(t.shape), t.dtype) for name, t in columns.items()}
    parts: dict[str, list[torch.Tensor]] = {}
    for source, found in enumerate(_all_gather_object(described)):
        for name, (shape, dtype) in found.items():
            own = source == number()
            part = columns[name] if own else torch.empty(shape, dtype=dtype)
            parts.setdefault(name, []).append(_broadcast(source, part))
    return {name: torch.cat(rows) for name, rows in parts.items()}


def _several() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def _all_gather_object(value: Any) -> list[Any]:
    values: list[Any] = [value] * count()
    if _several():
        distributed.all_gather_object(values, value)
    return values


def _broadcast(source: int, tensor: torch.Tensor) -> torch.Tensor:
    tensor = tensor.to(own_device())
    distributed.broadcast(tensor, source)
    return tensor.cpu()
