"""Adapters as a stage: of low rank, beside frozen linear layers, and merged into them at the end.

Beside a frozen weight W of a layer two thin matrices are trained, A and B, and the layer computes
with W + BA (Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models"). B starts at
zero, so that training begins where the model is. The layers are those of PEFT.
"""

import copy
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from staged_training.layers import ADAPTED, layer_groups, parts_of_selector, select_parameters
from staged_training.runtime.errors import InputError

_RANK = 8
"""The default of PEFT, and of the paper for RoBERTa."""


def without_adapters(selector: str) -> str:
    """Return a selector of the layers that training changes in the end, where adapters are merged.

    Examples:
        >>> without_adapters("backbone[-2:].lora(4), head")
        'backbone[-2:], head'
    """
    parts = parts_of_selector(selector)
    return ", ".join(found[1] if (found := ADAPTED.fullmatch(part)) else part for part in parts)


def check_adapters(model: nn.Module, selector: str) -> None:
    """Refuse adapters that cannot be made, before any work.

    Args:
        model: A model without adapters.
        selector: What a stage trains, as for `select_parameters`.

    Raises:
        InputError: PEFT is not installed or cannot adapt the layers, or a part of the selector
            names no layer to adapt, or a rank that is no low one.
    """
    if any(map(ADAPTED.fullmatch, parts_of_selector(selector))) and find_spec("peft") is None:
        raise InputError(
            f"{selector!r} trains adapters, which need PEFT: pip install 'nlp-transfer[lora]'."
        )
    if ranks := _ranks(model, selector):
        tensors = [*model.parameters(), *model.buffers()]
        trained = {parameter: parameter.requires_grad for parameter in model.parameters()}
        try:
            twin = copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})
        except RuntimeError:  # a tensor that was computed: the stage will tell
            return
        try:
            _inject(twin, ranks, selector, seed=0)
        finally:
            for parameter, requires_grad in trained.items():
                parameter.requires_grad_(requires_grad)


@contextmanager
def adapters(model: nn.Module, selector: str, seed: int) -> Iterator[None]:
    """Put adapters beside the layers that a selector names, and merge them into these at the end.

    Merged, the model has the layers and the names that it had before: it is saved, loaded and
    exported as ever. Where an error ends the context, the adapters are dropped, and the layers are
    to the bit what they were.

    Args:
        model: A model without adapters.
        selector: What a stage trains, as for `select_parameters`; without `.lora` nothing is done.
        seed: Of the random numbers that A begins with.

    Raises:
        InputError: As `check_adapters` does, or PEFT cannot adapt the layers.
    """
    ranks = _ranks(model, selector)
    if not ranks:
        yield
        return
    try:
        _inject(model, ranks, selector, seed)
        yield
    except BaseException:
        _remove(model, merge=False)
        raise
    _remove(model, merge=True)


def _inject(model: nn.Module, ranks: dict[str, int], selector: str, seed: int) -> None:
    """Put adapters of some ranks beside the linear layers of some paths."""
    from peft import LoraConfig, inject_adapter_in_model

    names = [group.name for group in layer_groups(model)]
    config = LoraConfig(
        r=_RANK,
        target_modules="|".join(map(re.escape, ranks)),
        rank_pattern={re.escape(path): rank for path, rank in ranks.items()},
    )
    refused = InputError(f"{selector!r}: PEFT cannot adapt these layers of {_kind(model)}.")
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            inject_adapter_in_model(config, model)
    except ValueError as error:
        raise refused from error
    vars(model).pop("peft_config")  # it says that PEFT decides what is trained
    made = {path: layer.r["default"] for path, layer in _adapted(model).items()}
    if made != ranks or [group.name for group in layer_groups(model)] != names:
        raise refused


def _ranks(model: nn.Module, selector: str) -> dict[str, int]:
    """Return the rank of the adapter of each linear layer that gets one, by its path."""
    ranks: dict[str, int] = {}
    paths: dict[torch.Tensor, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        paths.setdefault(parameter, []).append(name)
    for part in parts_of_selector(selector):
        if not (found := ADAPTED.fullmatch(part)):
            continue
        rank = int(found[2] or _RANK)
        if not rank:
            raise InputError(f"{part!r}: the rank of an adapter is at least 1.")
        selected = select_parameters(model, found[1])
        # A subclass may compute otherwise, and a shared weight would change elsewhere, too.
        linear = {
            path: max(module.weight.shape)
            for path, module in model.named_modules()
            if type(module) is nn.Linear
            and f"{path}.weight" in selected
            and len(paths[module.weight]) == 1
        }
        if not linear:
            raise InputError(
                f"{part!r}: adapters are for linear layers, and {found[1]!r} of {_kind(model)} has "
                f"none. Train the layers themselves: {found[1]!r}."
            )
        if rank > (most := max(linear.values())):
            raise InputError(
                f"{part!r}: the rank of an adapter is far below the width of its layer, and here "
                f"the widest has {most:,}. Give 4 or 8, say."
            )
        ranks |= dict.fromkeys(linear, rank)
    return ranks


def _adapted(model: nn.Module) -> dict[str, Any]:
    from peft.tuners.lora import LoraLayer

    return {path: module for path, module in model.named_modules() if isinstance(module, LoraLayer)}


def _remove(model: nn.Module, *, merge: bool) -> None:
    """Put the adapted layers back, with what was learnt beside them or without."""
    vars(model).pop("peft_config", None)
    for path, layer in _adapted(model).items():
        if merge:
            layer.merge()
        model.set_submodule(path, layer.get_base_layer())


def _kind(model: nn.Module) -> str:
    return type(model).__name__
