"""Recurrent layers over texts of different lengths, in one direction, in two, or in a pair."""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


class GRU(nn.GRU):
    """A layer of `nn.GRU` for texts of different lengths, which trains faster on a processor.

    `nn.GRU` leaves its gradients to autograd, operation by operation and direction by direction,
    each of which fills a tensor as large as all steps together. Here both directions make a step at
    once, and the gradients are written out: the same numbers but for rounding. Where it is not
    trained or traced, where layers are stacked or have no bias, and on accelerators, it is
    `nn.GRU`.
    """

    def forward(  # type: ignore[override]
        self, inputs: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Run as `run_layer` does."""
        on_processor = inputs.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
        one_biased = self.num_layers == 1 and self.bias
        trains = self.training and torch.is_grad_enabled() and not torch.jit.is_tracing()
        if not (trains and on_processor and one_biased):
            return _run_packed(super().forward, inputs, lengths)
        sizes, rows = _steps(lengths, inputs.shape[1], directions=1 + self.bidirectional)
        suffixes = ["l0", "l0_reverse"][: len(rows)]
        kinds = "weight_ih", "weight_hh", "bias_ih", "bias_hh"
        weights = [torch.stack([getattr(self, f"{kind}_{s}") for s in suffixes]) for kind in kinds]
        states = cast(torch.Tensor, _Scan.apply(inputs, *weights, rows, sizes))
        last = states[torch.arange(len(lengths)), lengths - 1, : self.hidden_size]
        return states, torch.cat([last, states[:, 0, self.hidden_size :]], dim=-1)


class _Scan(torch.autograd.Function):
    """The steps of a GRU (Cho et al. 2014) through texts, in one direction or in two at once.

    At each step are the texts that are long enough, the longest first: step by step, they are the
    rows of what is computed, `[directions, rows, ...]`.
    """

    @staticmethod
    def forward(
        ctx: Any,
        inputs: torch.Tensor,
        weight_ih: torch.Tensor,
        weight_hh: torch.Tensor,
        bias_ih: torch.Tensor,
        bias_hh: torch.Tensor,
        rows: torch.Tensor,
        sizes: list[int],
    ) -> torch.Tensor:
        """Return the states, `[batch, tokens, directions * hidden]`, 0 at padding.

        Args:
            ctx: Keeps what the gradients need.
            inputs: `[batch, tokens, width]`.
            weight_ih: Those of `nn.GRU` for each direction, as are the next three.
            weight_hh: As above.
            bias_ih: As above.
            bias_hh: As above.
            rows: Which token each row is, of all in the batch, `[directions, rows]`.
            sizes: The texts of each step.
        """
        directions, hidden = len(rows), weight_hh.shape[-1]
        read = inputs.flatten(0, 1)[rows]
        given = torch.baddbmm(bias_ih.unsqueeze(1), read, weight_ih.mT)
        gates = torch.empty_like(given)  # reset, update, and what is reset for the new state
        new, states = given.new_empty(2, *given.shape[:2], hidden)
        opened, reset, update, inner = _parts(gates, hidden)
        given_gates, *_, given_new = _parts(given, hidden)
        tensors = gates, opened, reset, update, inner, given_gates, given_new, new, states
        bias, weight = bias_hh.unsqueeze(1), weight_hh.mT
        state = given.new_zeros(directions, sizes[0], hidden)
        for all_, both, r, z, own, given_both, given_own, n, after in _by_step(sizes, *tensors):
            before = state[:, : all_.shape[1]]
            torch.baddbmm(bias, before, weight, out=all_)
            both.add_(given_both).sigmoid_()
            torch.addcmul(given_own, r, own, out=n).tanh_()
            state = torch.lerp(n, before, z, out=after)
        ctx.save_for_backward(read, weight_ih, weight_hh, rows, gates, new, states)
        ctx.sizes, ctx.shape = sizes, inputs.shape
        padded = inputs.new_zeros(inputs.shape[0] * inputs.shape[1], directions, hidden)
        for direction, own_rows in enumerate(rows):
            padded[own_rows, direction] = states[direction]
        return padded.view(*inputs.shape[:2], directions * hidden)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of the inputs and the weights."""
        read, weight_ih, weight_hh, rows, gates, new, states = ctx.saved_tensors
        directions, hidden = len(rows), weight_hh.shape[-1]
        _, reset, update, inner = _parts(gates, hidden)
        first = states.new_zeros(directions, ctx.sizes[0], hidden)
        pairs = zip(states.split(ctx.sizes, 1), ctx.sizes[1:], strict=False)
        before = torch.cat([first, *(state[:, :size] for state, size in pairs)], 1)
        # Shares of a state's gradient that its step hands on: to its gates, to the state before.
        to_new = (1 - update) * (1 - new * new)
        to_reset = to_new * inner * reset * (1 - reset)
        to_update = (before - new) * update * (1 - update)
        shares = torch.stack([to_reset, to_update, to_new * reset, update], 2)
        found = torch.empty_like(shares)
        own = found.flatten(2)[..., : 3 * hidden]
        grad = grad.reshape(-1, directions, hidden)
        grad = torch.stack([grad[own_rows, number] for number, own_rows in enumerate(rows)])
        tensors = grad, grad.unsqueeze(2), shares, found, own, found[:, :, 3]
        later = grad[:, :0]
        for here, spread, share, out, of_gates, kept in reversed([*_by_step(ctx.sizes, *tensors)]):
            here[:, : later.shape[1]] += later
            torch.mul(spread, share, out=out)
            later = torch.baddbmm(kept, of_gates, weight_hh)
        of_given = torch.cat([own[..., : 2 * hidden], grad * to_new], -1)
        of_inputs = None
        if ctx.needs_input_grad[0]:
            of_inputs = grad.new_zeros(ctx.shape).flatten(0, 1)
            for own_rows, part in zip(rows, of_given @ weight_ih, strict=True):
                of_inputs.index_add_(0, own_rows, part)
            of_inputs = of_inputs.view(ctx.shape)
        of_weights = of_given.mT @ read, own.mT @ before, of_given.sum(1), own.sum(1)
        return of_inputs, *of_weights, None, None


def _parts(gates: torch.Tensor, hidden: int) -> list[torch.Tensor]:
    """Return views of the two gates together, of each, and of what is behind them."""
    return [gates[..., : 2 * hidden], *gates.split(hidden, -1)]


def _by_step(sizes: list[int], *tensors: torch.Tensor) -> "zip[tuple[torch.Tensor, ...]]":
    """Return the rows of each step of some tensors."""
    return zip(*(tensor.split(sizes, 1) for tensor in tensors), strict=True)


def _steps(
    lengths: torch.Tensor, longest: int, *, directions: int
) -> tuple[list[int], torch.Tensor]:
    """Return how many texts each step has, and which token of the batch each row is, see `_Scan`.

    The second direction begins with the last token of each text.
    """
    order = lengths.argsort(descending=True, stable=True)
    has_step = torch.arange(longest).unsqueeze(1) < lengths[order]
    step, place = has_step.nonzero(as_tuple=True)
    text = order[place]
    tokens = torch.stack([step, lengths[text] - 1 - step][:directions])
    sizes = [size for size in has_step.sum(1).tolist() if size]
    return sizes, text * longest + tokens


class SeparateDirections(nn.Module):
    """A layer of two directions, neither of which reads what the other made of the layer below.

    Args:
        cell: `nn.GRU` or `nn.LSTM`.
        shared: Width of what both directions read, the embedding.
        hidden: Width of the states of each direction.
        first: Whether it reads the embedding alone.
    """

    def __init__(
        self, cell: type[nn.GRU | nn.LSTM], shared: int, hidden: int, *, first: bool
    ) -> None:
        super().__init__()
        own = 0 if first else hidden
        self.widths = [shared, own, own]
        self.ahead = cell(shared + own, hidden, batch_first=True)
        self.back = cell(shared + own, hidden, batch_first=True)

    def forward(
        self, inputs: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Run as `run_layer` does, on the embedding and then both directions of the layer below."""
        embedded, ahead, back = inputs.split(self.widths, dim=-1)
        ahead, last_ahead = run_layer(self.ahead, torch.cat([embedded, ahead], dim=-1), lengths)
        back = _reverse(torch.cat([embedded, back], dim=-1), lengths)
        back, last_back = run_layer(self.back, back, lengths)
        states = torch.cat([ahead, _reverse(back, lengths)], dim=-1)
        return states, torch.cat([last_ahead, last_back], dim=-1)


def run_layer(
    layer: nn.Module, inputs: torch.Tensor, lengths: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the states of a layer, `[batch, tokens, width]`, and the last, `[batch, width]`."""
    if isinstance(layer, SeparateDirections | GRU):
        states, last = layer(inputs, lengths)
        return states, last
    return _run_packed(layer, inputs, lengths)


def _run_packed(
    layer: Callable[..., Any], inputs: torch.Tensor, lengths: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Run a layer of `torch` on the real tokens alone."""
    packed = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
    packed, last = layer(packed)
    states, _ = pad_packed_sequence(packed, batch_first=True, total_length=inputs.shape[1])
    return states, (last[0] if isinstance(last, tuple) else last).transpose(0, 1).flatten(1)


def _reverse(states: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Reverse the real tokens of each text; padding stays where it is."""
    position = torch.arange(states.shape[1], device=states.device)
    last = lengths.to(states.device).unsqueeze(1) - 1
    order = torch.where(position <= last, last - position, position)
    return states.gather(1, order.unsqueeze(-1).expand_as(states))  # which ONNX knows
