"""Export of a classifier to ONNX, checked against the model that it was made of."""

import json
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import PreTrainedModel

from staged_training.features.head import watched_head
from staged_training.runtime.errors import InputError
from staged_training.runtime.files import written_whole
from staged_training.runtime.onnx import onnx_runtime

TOLERANCE = 1e-4
"""The largest difference of an output, in shares of the largest one where that is more than 1."""

_REPEATS = 20


@dataclass(frozen=True)
class Exported:
    """The result of an export.

    Attributes:
        difference: The largest difference of an output from that of the model, see `TOLERANCE`.
        milliseconds: Median time for one example, by `PyTorch` and `ONNX Runtime`.
    """

    difference: float
    milliseconds: dict[str, float]


class _Outputs(nn.Module):
    """A model that takes its inputs in order; its logits, and what its head is given."""

    def __init__(self, model: PreTrainedModel, names: Sequence[str], with_features: bool) -> None:
        super().__init__()
        self.model, self.names, self.with_features = model, list(names), with_features

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        features: list[torch.Tensor] = []
        watching = watched_head(self.model, features.append)
        with watching if self.with_features else nullcontext():
            logits: torch.Tensor = self.model(**dict(zip(self.names, inputs, strict=True))).logits
        return (logits, *(part.flatten(1) for part in features))


def export_onnx(
    model: PreTrainedModel,
    batches: Sequence[Mapping[str, torch.Tensor]],
    file: Path,
    facts: Mapping[str, Any] | None = None,
    *,
    with_features: bool = False,
) -> Exported:
    """Write a classifier as an ONNX file that takes batches of any size, and texts of any length.

    It gives `logits`, `[batch, labels]`.

    Args:
        model: The classifier.
        batches: Inputs to check it on, of different sizes; `[batch, ...]` by name. The last is one
            example, on which it is timed.
        file: The file to write.
        facts: What a user of the file has to know, such as the labels; it holds them as JSON in its
            metadata.
        with_features: Whether it gives `features` too, `[batch, width]`: what its head is given.

    Raises:
        InputError: The extra `onnx` is not installed, or the outputs differ; nothing is written.
    """
    try:
        import onnx

        onnxruntime = onnx_runtime()
    except ImportError as error:
        raise InputError("Export needs more: pip install 'nlp-transfer[onnx]'.") from error
    names = list(batches[0])
    outputs = _Outputs(model, names, with_features).eval()
    with written_whole(file) as temporary:
        _write(outputs, batches[0], temporary)
        proto = onnx.load(temporary)
        texts = {name: json.dumps(value) for name, value in (facts or {}).items()}
        onnx.helper.set_model_props(proto, texts)
        onnx.save(proto, temporary)
        session = onnxruntime.InferenceSession(temporary, providers=["CPUExecutionProvider"])
        arrays = [{name: batch[name].numpy() for name in names} for batch in batches]
        with torch.no_grad():
            wanted = [part for batch in batches for part in outputs(*(batch[n] for n in names))]
        found = [part for batch in arrays for part in session.run(None, batch)]
        difference = max(_difference(*both) for both in zip(wanted, found, strict=True))
        if not difference <= TOLERANCE:
            raise InputError(
                f"{file} was not written: its outputs would differ from those of the model by "
                f"{difference:.2g}, which is more than {TOLERANCE:g}."
            )
        with torch.no_grad():
            one = [batches[-1][name] for name in names]
            milliseconds = {
                "PyTorch": _median_time(lambda: outputs(*one)),
                "ONNX Runtime": _median_time(lambda: session.run(None, arrays[-1])),
            }
    return Exported(difference, milliseconds)


def _write(outputs: _Outputs, batch: Mapping[str, torch.Tensor], file: Path) -> None:
    """Trace the model: the newer exporter knows no packed sequences, as recurrent layers read."""
    sizes = {0: "batch", 1: "tokens"}
    dynamic = {name: sizes if tensor.ndim == 2 else {0: "batch"} for name, tensor in batch.items()}
    names = ["logits", "features"][: 1 + outputs.with_features]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about shapes that are the same in every batch
        torch.onnx.export(
            outputs,
            tuple(batch.values()),
            file,
            input_names=list(batch),
            output_names=names,
            dynamic_axes=dynamic | {name: {0: "batch"} for name in names},
            dynamo=False,
        )


def _difference(wanted: torch.Tensor, found: NDArray[np.float32]) -> float:
    """Return the largest difference, in shares of the largest number if that is more than 1."""
    expected = wanted.numpy()
    return float(np.abs(expected - found).max() / max(1.0, np.abs(expected).max()))


def _median_time(call: Callable[[], object]) -> float:
    """Return the median time of a call in milliseconds."""
    times = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1000 * median(times)
