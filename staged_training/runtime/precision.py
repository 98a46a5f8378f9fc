"""Mixed precision: the numbers that `Trainer` computes with, said once for a whole run."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from staged_training.runtime.errors import InputError

MIXED_PRECISION = "ACCELERATE_MIXED_PRECISION"
"""The variable of the environment that `TrainingArguments` reads and `accelerate launch` sets."""


@contextmanager
def mixed_precision(precision: str) -> Iterator[None]:
    """Let all `TrainingArguments` that are made within ask for a precision.

    Weights and optimizers stay in 32 bits; layers compute in 16 where that is known to be safe
    (Micikevicius et al. 2018, "Mixed Precision Training"). What is trained without `Trainer`, such
    as a linear probe, computes in 32 bits always.

    Args:
        precision: `fp32` for all in 32 bits, or what most layers compute in: `bf16`, `fp16`.

    Raises:
        InputError: There is no device that computes so, or `accelerate launch` was asked for
            another precision.

    Examples:
        >>> from transformers import TrainingArguments
        >>> with mixed_precision("bf16"):
        ...     TrainingArguments("checkpoints", use_cpu=True).mixed_precision
        'bf16'
        >>> TrainingArguments("checkpoints", use_cpu=True).mixed_precision
        'no'
    """
    asked = "no" if precision == "fp32" else precision
    before = os.environ.get(MIXED_PRECISION)
    if before not in (None, "no", asked):
        told = f"`accelerate launch` was given mixed precision {before}, and `precision` is"
        raise InputError(f"{told} {precision}. Give the same to both.", ["precision"])
    if asked != "no":
        _check_device(asked)
    os.environ[MIXED_PRECISION] = asked
    try:
        yield
    finally:
        del os.environ[MIXED_PRECISION]
        if before is not None:
            os.environ[MIXED_PRECISION] = before


def _check_device(precision: str) -> None:
    """Refuse a precision that no device here computes in; `Trainer` would pass over some."""
    import torch
    from accelerate.utils import is_bf16_available

    if precision == "fp16" and not torch.accelerator.is_available():
        raise InputError(
            "`precision` is fp16, which needs an accelerator, and PyTorch finds none. Give fp32, "
            "or bf16, which processors compute, too.",
            ["precision"],
        )
    if precision == "bf16" and not is_bf16_available(ignore_tpu=True):
        raise InputError(
            "`precision` is bf16, which this accelerator does not compute. Give fp16 or fp32.",
            ["precision"],
        )
