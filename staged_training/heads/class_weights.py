"""Class weights: a loss in which rare labels count as much as frequent ones, or as you say."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.class_weight import compute_class_weight

from staged_training.experiment.target import MultiLabel, Target
from staged_training.runtime.errors import InputError

if TYPE_CHECKING:
    import torch

ClassWeight = Mapping[str, float] | Literal["balanced"] | None
"""A weight for each label, those left out weigh 1; or `balanced`, as in scikit-learn."""

_MOST = 1e6  # of a weight


def class_weights(
    values: ArrayLike, names: Sequence[str], wanted: ClassWeight
) -> NDArray[np.float64] | None:
    """Return the weight of each label, `[labels]`; `None` where all weigh alike.

    Balanced weights of one label each are `examples / (labels * examples of the label)`; of several
    labels they are the examples without a label by those with it.

    Args:
        values: The values to train on: label numbers `[examples]`, or `[examples, labels]` of 0
            and 1.
        names: The names of the labels.
        wanted: What they weigh.

    Examples:
        >>> class_weights([0, 0, 0, 1], ["other", "urgent"], "balanced").round(2).tolist()
        [0.67, 2.0]
        >>> class_weights([0, 0, 0, 1], ["other", "urgent"], {"urgent": 3}).tolist()
        [1.0, 3.0]
    """
    if not wanted:
        return None
    if isinstance(wanted, Mapping):
        return np.array([wanted.get(name, 1.0) for name in names])
    values = np.asarray(values)
    if values.ndim == 2:
        applies = values.sum(axis=0)
        return np.asarray((len(values) - applies) / np.maximum(applies, 1))
    weights = np.ones(len(names))
    seen = np.unique(values)
    weights[seen] = compute_class_weight("balanced", classes=seen, y=values)
    return weights


def loss_of(
    values: ArrayLike, target: Target, wanted: ClassWeight
) -> "Callable[..., torch.Tensor] | None":
    """Return a loss with class weights, as `Trainer` takes `compute_loss_func`; `None` without.

    Args:
        values: The values to train on, see `class_weights`.
        target: What is predicted. Of several labels, where a label applies counts as often as it
            weighs.
        wanted: What each label weighs.
    """
    import torch  # weights are read and checked without
    from torch.nn import functional

    weights = class_weights(values, target.names, wanted)
    if weights is None:
        return None

    def loss(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
        logits = outputs["logits"]
        weight = torch.as_tensor(weights, dtype=logits.dtype, device=logits.device)
        if isinstance(target, MultiLabel):
            return functional.binary_cross_entropy_with_logits(logits, labels, pos_weight=weight)
        return functional.cross_entropy(logits, labels, weight=weight)

    return loss


def read_class_weight(given: Sequence[str] | None, names: Sequence[str]) -> ClassWeight:
    """Read class weights as they are written: `balanced`, or `LABEL=WEIGHT` for some labels.

    Args:
        given: What was written.
        names: The names of the labels.

    Raises:
        InputError: It is neither, there is no such label, or a weight is no positive number.
    """
    if not given:
        return None
    if list(given) == ["balanced"]:
        return "balanced"
    weights: dict[str, float] = {}
    for part in given:
        name, _, number = part.rpartition("=")
        try:
            weight = float(number)
        except ValueError:
            weight = 0.0
        if name not in names or name in weights or not 0 < weight <= _MOST:
            raise InputError(
                f"`class_weight` is {' '.join(given)!r}; give `balanced` alone, or LABEL=WEIGHT "
                f"once for each of some labels, with a number above 0, up to {_MOST:g}. The labels "
                f"are: {', '.join(names)}.",
                ["class_weight"],
            )
        weights[name] = weight
    return weights
