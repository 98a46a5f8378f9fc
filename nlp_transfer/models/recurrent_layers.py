"""Recurrent layers over texts of different lengths, in one direction, in two, or in a pair."""

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


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
    if isinstance(layer, SeparateDirections):
        states, last = layer(inputs, lengths)
        return states, last
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
