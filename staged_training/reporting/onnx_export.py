"""Export of a model to ONNX, checked against the model that it was made of."""

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
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
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
    """A model that takes its inputs in order; its outputs, and what its head is given."""

    def __init__(
        self, model: PreTrainedModel, names: Sequence[str], with_features: bool, detects: bool
    ) -> None:
        super().__init__()
        self.model, self.names, self.with_features = model, list(names), with_features
        self.outputs = ["logits", "pred_boxes"] if detects else ["logits"]

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        features: list[torch.Tensor] = []
        watching = watched_head(self.model, features.append)
        with watching if self.with_features else nullcontext():
            found = self.model(**dict(zip(self.names, inputs, strict=True)))
        return (
            *(found[name] for name in self.outputs),
            *(part.flatten(1) for part in features),
        )


def export_onnx(
    model: PreTrainedModel,
    batches: Sequence[Mapping[str, torch.Tensor]],
    file: Path,
    facts: Mapping[str, Any] | None = None,
    *,
    with_features: bool = False,
    detects: bool = False,
) -> Exported:
    """Write a model as an ONNX file that takes batches of any size, and texts of any length.

    Of a classifier it gives `logits`, `[batch, labels]`; of a detector `logits` and `pred_boxes`,
    `[1, boxes, labels + 1]` and `[1, boxes, 4]`, of one image at a time.

    Args:
        model: The model.
        batches: Inputs to check it on, of different sizes; `[batch, ...]` by name. The last is one
            example, on which it is timed.
        file: The file to write.
        facts: What a user of the file has to know, such as the labels; it holds them as JSON in its
            metadata.
        with_features: Whether it gives `features` too, `[batch, width]`: what its head is given.
        detects: Whether it is a detector, of whose `batches` each is one image. Boxes whose scores
            are all but equal may come in another order.

    Raises:
        InputError: The extra `onnx` is not installed, or the outputs differ; nothing is written.
    """
    try:
        import onnx

        onnxruntime = onnx_runtime()
    except ImportError as error:
        raise InputError("Export needs more: pip install 'nlp-transfer[onnx]'.") from error
    names = list(batches[0])
    outputs = _Outputs(model, names, with_features, detects).eval()
    with written_whole(file) as temporary:
        _write(outputs, batches[0], temporary, detects)
        proto = onnx.load(temporary)
        texts = {name: json.dumps(value) for name, value in (facts or {}).items()}
        onnx.helper.set_model_props(proto, texts)
        onnx.save(proto, temporary)
        session = onnxruntime.InferenceSession(temporary, providers=["CPUExecutionProvider"])
        arrays = [{name: batch[name].numpy() for name in names} for batch in batches]
        with torch.no_grad():
            wanted = [[o.numpy() for o in outputs(*(b[n] for n in names))] for b in batches]
        found = [session.run(None, batch) for batch in arrays]
        difference = max(_difference(w, f, detects) for w, f in zip(wanted, found, strict=True))
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


def _write(outputs: _Outputs, batch: Mapping[str, torch.Tensor], file: Path, detects: bool) -> None:
    """Trace the model: the newer exporter knows no packed sequences, as recurrent layers read."""
    names = [*outputs.outputs, *(["features"] if outputs.with_features else [])]
    sizes = {2: {0: "batch", 1: "tokens"}, 3: {1: "regions"}}
    every = {} if detects else {0: "batch"}
    dynamic = {name: sizes.get(tensor.ndim, every) for name, tensor in batch.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about shapes that are the same in every batch
        torch.onnx.export(
            outputs,
            tuple(batch.values()),
            file,
            input_names=list(batch),
            output_names=names,
            dynamic_axes=dynamic | dict.fromkeys(names, every),
            dynamo=False,
        )


def _difference(
    wanted: Sequence[NDArray[Any]], found: Sequence[NDArray[Any]], in_any_order: bool
) -> float:
    """Return the largest difference, in shares of the largest number of an output if that is > 1.

    In any order, rows `[1, rows, ...]` of all outputs are compared with those that are most alike.
    """
    largest = [max(1.0, np.abs(part).max()) for part in wanted]
    wanted, found = (
        [part / m for part, m in zip(w, largest, strict=True)] for w in (wanted, found)
    )
    if not in_any_order:
        return max(float(np.abs(w - f).max()) for w, f in zip(wanted, found, strict=True))
    rows, others = (np.concatenate(parts, axis=-1)[0] for parts in (wanted, found))
    distances = cdist(rows, others, "chebyshev")
    return float(distances[linear_sum_assignment(distances)].max())


def _median_time(call: Callable[[], object]) -> float:
    """Return the median time of a call in milliseconds."""
    times = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1000 * median(times)
