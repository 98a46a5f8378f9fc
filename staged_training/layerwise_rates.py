"""One learning rate per layer group: smaller towards the input, where layers are general."""

from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from staged_training.layers import layer_groups


def layerwise_rates(model: nn.Module, learning_rate: float, layer_decay: float) -> dict[str, float]:
    """Return learning rates that shrink by `layer_decay` from each layer group to the one below.

    The top one that is trained has `learning_rate` itself (discriminative fine-tuning, Howard and
    Ruder, ACL 2018).
    """
    rates: dict[str, float] = {}
    rate = learning_rate
    for group in reversed(layer_groups(model)):
        rates[group.name] = rate
        if any(parameter.requires_grad for parameter in group.parameters.values()):
            rate *= layer_decay
    return rates


def group_by_layer(
    optimizer: torch.optim.Optimizer, model: nn.Module, rates: dict[str, float]
) -> None:
    """Split the groups of an optimizer in place, so that each layer group has its own rate.

    What else the groups said, such as their weight decay, stays; how far a schedule had brought
    their rate down stays too.
    """
    split = []
    for old in optimizer.param_groups:
        progress = old["lr"] / old["initial_lr"] if old.get("initial_lr") else 1.0
        members = set(old["params"])
        for group in layer_groups(model):
            parameters = [p for p in group.parameters.values() if p in members]
            if parameters:
                rate = rates[group.name]
                own = {"params": parameters, "lr": rate * progress, "initial_lr": rate}
                split.append({**old, **own, "layer_group": group.name})
    optimizer.param_groups = split


def split_by_layer(
    optimizer: Any,  # accelerate's wrapper is an Optimizer only in name
    scheduler: LRScheduler,
    model: nn.Module,
    rates: dict[str, float],
) -> None:
    """Regroup, as `group_by_layer`, an optimizer that is already scheduled, and maybe resumed.

    Such an optimizer goes on to save its state in the layout it was made with: `Trainer` makes it
    so again before it loads a checkpoint, and only then are its groups split.
    """
    optimizer = getattr(optimizer, "optimizer", optimizer)
    if "layer_group" in optimizer.param_groups[0]:
        return
    made_with = [dict(group) for group in optimizer.param_groups]
    position = {p: i for i, p in enumerate(p for group in made_with for p in group["params"])}

    def in_the_layout_made_with(_: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        now = [p for group in optimizer.param_groups for p in group["params"]]
        top = optimizer.param_groups[-1]
        state["state"] = {position[now[index]]: s for index, s in state["state"].items()}
        state["param_groups"] = [
            {
                **group,
                "params": [position[p] for p in group["params"]],
                "lr": group["initial_lr"] * top["lr"] / top["initial_lr"],
            }
            for group in made_with
        ]
        return state

    group_by_layer(optimizer, model, rates)
    optimizer.register_state_dict_post_hook(in_the_layout_made_with)
    scheduler.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
    if isinstance(scheduler, LambdaLR):
        schedule = scheduler.lr_lambdas[0]

        def factor(step: int) -> float:  # a function, since a checkpoint keeps no state of those
            return schedule(step)

        scheduler.lr_lambdas = [factor] * len(optimizer.param_groups)
