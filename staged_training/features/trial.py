"""A few examples, run through a model whole and on features: is the one what the other is?"""

import copy
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, cast

import numpy as np
import torch
from accelerate.utils import send_to_device
from torch import nn
from torch.utils._pytree import tree_leaves
from transformers import Trainer, set_seed

from staged_training.features.calls import watched
from staged_training.features.columns import Collate, Columns, input_layouts, numbers_in
from staged_training.features.cut import CannotReuseError, find_cuts, layer_drop
from staged_training.features.layouts import Extents
from staged_training.features.replay import on_stored
from staged_training.features.store import FeatureDataset

_OTHERS = 8  # examples that run beside one another
_BLANKS = 1e4, -1e4  # stand in for what need not be computed, as NaN does

_TOLERANCES = {torch.float32: 1e-4, torch.float64: 1e-6}  # of the largest number of a tensor
_ROUGH = 2e-2  # the same for shorter types
_ROUNDED_OFF, _EPSILON = 1e-5, 1e-6  # of the largest number of several tensors

_Result = tuple[str, list[Any]]
"""What was computed, in words, and the tensors."""


def tried(
    trainer: Trainer, collate: Collate, examples: Sequence[Any]
) -> tuple[Columns, list[Mapping[str, torch.Tensor]]]:
    """Find out what to store of the examples of a trainer, and prove that it is enough.

    Two unequal examples run whole, in evaluation and in training. The lower layers run on each of
    them alone, the upper ones on both, so that what an example gets from one beside it shows. Loss,
    outputs, buffers and the gradient of every trained parameter must be the same. Whatever need not
    be computed is not a number then, so that no use of it passes. A few more run beside one
    another. In mixed precision all must be equal to the bit.

    Args:
        trainer: Its model has frozen layers.
        collate: What makes a batch of its examples.
        examples: Some of them; the shortest and the longest are tried.

    Returns:
        What to keep, and what is kept of the examples that were tried.

    Raises:
        CannotReuseError: The upper layers cannot train on features; the message ends a sentence.
    """
    model = cast(nn.Module, trainer.model)
    with _undone(model):
        try:
            return _Trial(trainer, _twin(model), collate, examples).proved()
        except CannotReuseError:
            raise
        except Exception as error:  # of a model: it may raise anything where it is not whole
            reason = str(error).strip().split("\n")[0]
            raise CannotReuseError(
                f"it cannot be run in parts ({type(error).__name__}: {reason})"
            ) from error


class _Trial:
    """The examples that are tried, and how to run a model on them."""

    def __init__(
        self, trainer: Trainer, model: nn.Module, collate: Collate, examples: Sequence[Any]
    ) -> None:
        self.trainer, self.model = copy.copy(trainer), model  # a copy: it may count its losses
        self.buffers = _buffers(model)
        if len(examples) < 2:
            raise CannotReuseError("there are too few examples to try it on")
        self.collate = collate
        self.ordered = sorted(examples, key=lambda example: numbers_in(collate([example])))
        self.shortest, self.longest = self.ordered[0], self.ordered[-1]
        self.singles = [collate([example]) for example in (self.shortest, self.longest)]
        self.both = collate([self.shortest, self.longest])

    def proved(self) -> tuple[Columns, list[Mapping[str, torch.Tensor]]]:
        """Return what must be stored, and that of the examples."""
        layers = list(self.model.modules())
        found = self._columns()
        found += [c.with_padding(self.longest, self.collate) for c in found if c.can_keep_padding]
        failures = []
        for columns in found:
            try:
                proved = self._proved(columns)
            except CannotReuseError as error:
                failures.append(error)
                continue
            if layers != list(self.model.modules()):
                raise CannotReuseError("its layers change while it runs")
            return proved
        raise failures[0]

    def _proved(self, columns: Columns) -> tuple[Columns, list[Mapping[str, torch.Tensor]]]:
        """Return what to store, and that of the examples, if the model on it equals the whole."""
        try:
            stored = self._prove(columns)
        except RuntimeError as error:
            if "single memory location" not in str(error):
                raise CannotReuseError(f"it cannot be run in parts ({error})") from error
            columns = replace(columns, writes_into_blanks=True)
            stored = self._prove(columns)
        self._check_others(columns)
        return columns, stored

    def _columns(self) -> list[Columns]:
        """Return the sets of columns that may be enough to store, the smallest first."""
        extents = Extents(len(self.singles))
        batches = [self.both, *self.singles]
        inputs = input_layouts(batches, self.singles, extents)
        evaluated = []
        self.expected: list[_Result] = []
        for batch in batches:
            with _all_trained(self.model):
                records, results = watched(
                    self.model, partial(self._evaluated, batch), torch.is_floating_point
                )
            evaluated.append(records)
            self.expected += results
        self._begin_training()  # here too, so that random numbers drawn from then on are seen
        trained, results = watched(
            self.model, partial(self._trained, self.both), lambda tensor: not tensor.requires_grad
        )
        self.expected += results
        cuts = find_cuts(self.model, evaluated, trained, extents, self._objective)
        self.model.train()
        if any(
            self.model.get_submodule(call.module.rpartition(".")[0]).training
            and any(layer_drop(self.model, call.module))
            for call in cuts[0].stand_ins
        ):
            raise CannotReuseError("its frozen layers are left out at random (layerdrop)")
        keep = set(self.trainer.label_names)
        if "inputs" in (self.trainer.args.include_for_metrics or []):
            keep.add(getattr(self.model, "main_input_name", "input_ids"))
        found = [Columns.of(inputs, cut, extents, keep) for cut in cuts]
        return [replace(columns, keeps_format=is_mixed(self.trainer)) for columns in found]

    def _prove(self, columns: Columns) -> list[Mapping[str, torch.Tensor]]:
        """Return what is stored of the examples; raise an error unless the model on it is equal."""
        first, second = (
            self._stored(columns, [example])[0] for example in (self.shortest, self.longest)
        )
        both = [first, second]
        with on_stored(self.model, columns, blank=torch.nan):
            with torch.no_grad():
                batches = (self._batch(columns, *some) for some in (both, [first], [second]))
                found = [result for batch in batches for result in self._evaluated(batch)]
            found += self._trained(self._batch(columns, *both))
        self._check(self.expected, found, self.both)
        for blank in _BLANKS:  # no comparison is true of what is not a number
            with torch.no_grad(), on_stored(self.model, columns, blank):
                evaluated = self._evaluated(self._batch(columns, *both))
            self._check(self.expected[:1], evaluated, self.both)
        return both

    @torch.no_grad()
    def _check_others(self, columns: Columns) -> None:
        """Check on more examples that results are equal, whatever examples share their batch.

        All run together, as a layer may have room for only so much of a batch. Where they have
        lengths of their own, each runs beside one like it, too, and beside one unlike it.
        """
        rows = np.linspace(0, len(self.ordered) - 1, min(_OTHERS, len(self.ordered))).astype(int)
        chosen = [self.ordered[row] for row in rows]
        alike = (chosen[start : start + 2] for start in range(0, len(chosen), 2))
        stored = [example for some in alike for example in self._stored(columns, some)]
        batches: list[Sequence[int]] = [range(len(chosen))]
        if columns.differ:
            batches += [(one, -1 - one) for one in range(len(chosen) // 2)]
        for numbers in batches:
            batch = self.collate([chosen[number] for number in numbers])
            expected = self._evaluated(batch)
            with on_stored(self.model, columns, blank=torch.nan):
                found = self._evaluated(self._batch(columns, *(stored[n] for n in numbers)))
            self._check(expected, found, batch)

    def _stored(
        self, columns: Columns, examples: Sequence[Any]
    ) -> list[Mapping[str, torch.Tensor]]:
        self.model.eval()
        with self.trainer.accelerator.autocast():
            stored = FeatureDataset(columns.compute(self.model, examples, self.collate))
        return [stored[index] for index in range(len(stored))]

    def _batch(self, columns: Columns, *stored: Mapping[str, torch.Tensor]) -> Any:
        return send_to_device(columns.batch(stored), self.trainer.args.device)

    def _check(
        self, expected: "list[_Result]", found: "list[_Result]", batch: Mapping[str, torch.Tensor]
    ) -> None:
        for (what, ones), (_, others) in zip(expected, found, strict=True):
            if len(ones) != len(others) or not self._all_equal(ones, others, batch):
                raise CannotReuseError(f"its upper layers give another result on features, {what}")

    def _evaluated(self, batch: Mapping[str, Any]) -> "list[_Result]":
        """Return the loss and outputs of a batch in evaluation."""
        _set_buffers(self.model, self.buffers)
        self.model.eval()
        loss, outputs = self._run(batch)
        return [("in evaluation", [loss, *self._reported(outputs)])]

    def _trained(self, batch: Mapping[str, Any]) -> "list[_Result]":
        """Return loss, outputs and gradients of a batch in training, with fixed random numbers."""
        self._begin_training()
        loss, outputs = self._run(batch)
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        gradients = torch.autograd.grad(loss, trained, allow_unused=True)
        return [
            ("in training", [loss, *self._reported(outputs)]),
            ("in its gradients", list(gradients)),
            ("in its buffers", [b.clone() for b in self.model.buffers() if b.is_floating_point()]),
        ]

    def _objective(self) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
        """Return the sum of all outputs, randomly weighted, and the inputs that have gradients."""
        inputs = {
            name: tensor.detach().clone().requires_grad_()
            for name, tensor in self.both.items()
            if tensor.is_floating_point()
        }
        self._begin_training()
        loss, outputs = self._run({**self.both, **inputs})
        terms = [term for term in [loss, *self._reported(outputs)] if term.requires_grad]
        return cast(torch.Tensor, sum((t * torch.randn_like(t)).sum() for t in terms)), inputs

    def _run(self, batch: Mapping[str, Any]) -> tuple[torch.Tensor, Any]:
        """Return the loss and the outputs of a batch, as the trainer computes them."""
        with self.trainer.accelerator.autocast():
            found = self.trainer.compute_loss(self.model, dict(batch), return_outputs=True)
        return cast(tuple[torch.Tensor, Any], found)

    def _begin_training(self) -> None:
        """Put the model in training mode, with the same buffers and random numbers each time."""
        _set_buffers(self.model, self.buffers)
        self.model.train()
        set_seed(0)

    def _reported(self, outputs: Any) -> list[torch.Tensor]:
        """Return the outputs of a model that evaluation reports."""
        ignored = getattr(getattr(self.model, "config", None), "keys_to_ignore_at_inference", [])
        if isinstance(outputs, Mapping):
            outputs = {name: value for name, value in outputs.items() if name not in ignored}
        leaves = tree_leaves(outputs)
        return [t for t in leaves if isinstance(t, torch.Tensor) and t.is_floating_point()]

    def _all_equal(
        self,
        ones: Sequence[torch.Tensor | None],
        others: Sequence[torch.Tensor | None],
        batch: Mapping[str, torch.Tensor],
    ) -> bool:
        """Return whether tensors of a batch are equal, but for padding and rounding."""
        most = max((_largest(one) for one in ones if one is not None), default=0.0)
        mask = batch.get("attention_mask")
        pairs = zip(ones, others, strict=True)
        return all(self._equal(one, other, mask, most) for one, other in pairs)

    def _equal(
        self,
        one: torch.Tensor | None,
        other: torch.Tensor | None,
        mask: torch.Tensor | None,
        most: float,
    ) -> bool:
        if one is None or other is None:
            return one is other
        if one.shape != other.shape:
            return False
        real = _real(one, mask)
        one, other = one.detach().float()[real], other.detach().float()[real]
        own = _largest(one)
        # The numbers of a small tensor are what is left of large ones that all but cancel out.
        small = min(_ROUGH * own, _ROUNDED_OFF * most)
        allowed = max(self._tolerance * own, small, _EPSILON * most)
        if is_mixed(self.trainer):  # 16 bits are rounded so much that nothing else would be seen
            allowed = 0.0
        return torch.allclose(one, other, rtol=0, atol=allowed, equal_nan=True)

    @cached_property
    def _tolerance(self) -> float:
        dtypes = {p.dtype for p in self.model.parameters() if p.is_floating_point()}
        return max(_TOLERANCES.get(dtype, _ROUGH) for dtype in dtypes)


def is_mixed(trainer: Trainer) -> bool:
    """Return whether a trainer computes in mixed precision."""
    return bool(trainer.accelerator.native_amp)


def _real(output: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Return where an output is not that of padding."""
    if mask is None or output.shape[: mask.ndim] != mask.shape:
        return torch.ones_like(output, dtype=torch.bool)
    ones = (1 for _ in output.shape[mask.ndim :])
    return mask.bool().view(*mask.shape, *ones).expand(output.shape)


def _largest(tensor: torch.Tensor) -> float:
    finite = tensor.detach().float()[tensor.isfinite()]
    return float(finite.abs().max()) if finite.numel() else 0.0


def _twin(model: nn.Module) -> nn.Module:
    """Return a copy of a model that shares its weights; a pass changes only the copy."""
    tensors = [*model.parameters(), *model.buffers()]
    try:
        return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})
    except RuntimeError:  # a tensor that was computed, as by `torch.nn.utils.weight_norm`
        return model


@contextmanager
def _all_trained(model: nn.Module) -> Iterator[None]:
    """Mark every parameter as trained, and store no activations for unwanted gradients."""
    before = {p: p.requires_grad for p in model.parameters() if p.is_floating_point()}
    try:
        for parameter in before:
            parameter.requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(lambda _: torch.empty(0), lambda none: none):
            yield
    finally:
        for parameter, requires_grad in before.items():
            parameter.requires_grad_(requires_grad)


@contextmanager
def _undone(model: nn.Module) -> Iterator[None]:
    """Restore a model, and the random state, afterwards."""
    was_training, buffers = model.training, _buffers(model)
    states = random.getstate(), np.random.get_state()
    config = getattr(model, "config", None)
    problem_type = getattr(config, "problem_type", None)
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        model.train(was_training)
        _set_buffers(model, buffers)
        if config is not None and hasattr(config, "problem_type"):
            config.problem_type = problem_type


def _buffers(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: buffer.clone() for name, buffer in model.named_buffers()}


@torch.no_grad()
def _set_buffers(model: nn.Module, before: Mapping[str, torch.Tensor]) -> None:
    for name, buffer in model.named_buffers():
        buffer.copy_(before[name])
