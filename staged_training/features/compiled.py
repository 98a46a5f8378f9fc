"""The base of a model run by another library, if one is installed that is faster at it."""

import io
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from staged_training.features.folding import close, folded
from staged_training.features.head import Batch, evaluating, inputs_of
from staged_training.runtime import processes
from staged_training.runtime.onnx import onnx_runtime
from staged_training.runtime.printable import STDOUT, silenced

_Run = Callable[[dict[str, NDArray[Any]]], NDArray[Any]]

# Writing and compiling take a second or two, which less than this does not win back.
_LEAST_OPERATIONS = 2e11
_LEAST_GAIN = 1.1
_ROUNDS = 2  # of the trial, of which the fastest counts

IMAGES_IN_BATCH = 8
"""How many a processor runs at a time; what is tried is tried on as many."""


class Base(nn.Module):
    """The lower layers of a model as a model of their own.

    Args:
        model: The model.
        upper_modules: The modules above these layers, see `upper_modules_from`.
    """

    def __init__(self, model: nn.Module, upper_modules: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self._upper_modules = upper_modules
        self.train(model.training)

    def forward(self, **batch: torch.Tensor) -> torch.Tensor:
        """Return what the layers above are given, `[batch, ...]`."""
        return inputs_of(self._upper_modules, self.model, batch)


def fastest(base: Base, batch_of: Callable[[int], Batch], examples: int) -> nn.Module:
    """Return what computes the same features as a base in the least time.

    BatchNorm is folded into convolutions. Where many images are to be computed on a processor,
    the libraries that are installed of OpenVINO and ONNX Runtime are tried on a few of them. One is
    taken if it is faster and its features are those of PyTorch within 1e-5 of the largest. A model
    whose way through its layers depends on what it is given, so that it cannot be traced, is run by
    PyTorch.

    Args:
        base: The base.
        batch_of: Makes a batch of the first examples, of so many; of more than one only where
            other libraries are tried.
        examples: How many there are in all; none if that is not known.
    """
    with evaluating(base):
        one = batch_of(1)
        faster = cast(Base, folded(base, lambda some: some(**one)))
        if not _is_much(faster, one, examples):
            return faster
        graph, batch = _graph(faster, one), batch_of(min(examples, IMAGES_IN_BATCH))
        for compiled in (_by_openvino, _by_onnx_runtime):
            other = _tried(compiled, graph, faster, batch)
            if processes.all_of(other is not None):  # all have the same features
                return cast(nn.Module, other)
    return faster


class _Compiled(nn.Module):
    """A base run by another library; by PyTorch, where inputs are of another kind than it is for.

    That is, of another shape or type, or not finite: OpenVINO makes numbers of NaN.
    """

    def __init__(self, base: Base, run: _Run, batch: Batch) -> None:
        super().__init__()
        self.base = base
        self._run = run
        self._kinds = _kinds(batch)
        self.train(base.training)

    def forward(self, **batch: torch.Tensor) -> torch.Tensor:
        are_finite = all(tensor.isfinite().all() for tensor in batch.values())
        if _kinds(batch) != self._kinds or not are_finite:
            return cast(torch.Tensor, self.base(**batch))
        arrays = {name: np.ascontiguousarray(tensor) for name, tensor in batch.items()}
        return torch.from_numpy(self._run(arrays))


def _kinds(batch: Batch) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (tensor.shape[1:], tensor.dtype) for name, tensor in batch.items()}


def _is_much(base: Base, batch: Batch, examples: int) -> bool:
    weights = next(base.parameters())
    is_plain = weights.device.type == "cpu" and weights.dtype == torch.float32
    if not is_plain or torch.is_autocast_enabled("cpu"):
        return False
    return operations(base, batch) * examples >= _LEAST_OPERATIONS


def operations(model: nn.Module, batch: Batch) -> int:
    """Return how many multiplications and additions the forward pass of a batch takes."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(**batch)
    return int(counter.get_total_flops())


def _graph(base: Base, batch: Batch) -> bytes | None:
    """Return a base as ONNX for batches of any size, or nothing if it is not the same for all."""
    names = list(batch)
    try:
        # The exporter prints all of a graph that it cannot write.
        with silenced(STDOUT), TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Of what is decided by the numbers of one example, and so not for another.
            warnings.simplefilter("error", torch.jit.TracerWarning)
            torch.onnx.export(
                _ByPosition(base, names).eval(),
                tuple(batch.values()),
                file := Path(folder) / "base.onnx",
                input_names=names,
                output_names=["features"],
                dynamic_axes={name: {0: "batch"} for name in [*names, "features"]},
                dynamo=False,
            )
            return file.read_bytes()
    except Exception:  # of many kinds; PyTorch runs what cannot be written
        return None


class _ByPosition(nn.Module):
    """A base that takes its inputs by their positions, as the exporter gives them."""

    def __init__(self, base: Base, names: Sequence[str]) -> None:
        super().__init__()
        self._base, self._names = base, names

    def forward(self, *values: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self._base(**dict(zip(self._names, values, strict=True)))
        return found


def _tried(
    compiled: Callable[[bytes], _Run], graph: bytes | None, base: Base, batch: Batch
) -> _Compiled | None:
    """Return a base as another library runs it, if it is faster and its features are the same."""
    if graph is None:
        return None
    try:
        other = _Compiled(base, compiled(graph), batch)
        if not close(other(**batch), base(**batch)):
            return None
    except Exception:  # it is not installed, or does not know some layer: of many kinds
        return None
    rounds = [(_seconds(base, batch), _seconds(other, batch)) for _ in range(_ROUNDS)]
    plain, own = (min(times) for times in zip(*rounds, strict=True))
    return other if plain >= _LEAST_GAIN * own else None


def _seconds(model: nn.Module, batch: Batch) -> float:
    start = time.perf_counter()
    model(**batch)
    return time.perf_counter() - start


def _by_openvino(graph: bytes) -> _Run:
    import openvino

    core = openvino.Core()
    model = core.compile_model(
        core.read_model(io.BytesIO(graph)),
        "CPU",
        {
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "INFERENCE_PRECISION_HINT": "f32",  # not bfloat16, where the processor has it
            "ENABLE_CPU_PINNING": False,  # which cores are free only the system knows
        },
    )
    names = {name for taken in model.inputs for name in taken.names}
    return lambda batch: np.array(model({n: t for n, t in batch.items() if n in names})[0])


def _by_onnx_runtime(graph: bytes) -> _Run:
    onnxruntime = onnx_runtime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    names = [taken.name for taken in session.get_inputs()]
    return lambda batch: cast(
        NDArray[Any], session.run(None, {name: batch[name] for name in names})[0]
    )
