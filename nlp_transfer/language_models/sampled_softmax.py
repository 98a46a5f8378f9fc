"""Sampled softmax: the loss of a large vocabulary at the cost of a small one."""

import torch
from torch import nn


def proposal_distribution(counts: torch.Tensor, pad_token_id: int | None) -> torch.Tensor:
    """Return the probabilities to draw words by, from how often each occurs: `count ** 0.75`.

    The power is that of Word2Vec (Mikolov et al. 2013): rare words are drawn more often than they
    occur, and so is each word at least as often as one that occurs once.

    Args:
        counts: `[vocab]`.
        pad_token_id: What is no word, and never drawn.

    Returns:
        `float32 [vocab]`, sum 1.
    """
    weights = counts.clamp(min=1).double() ** 0.75
    if pad_token_id is not None:
        weights[pad_token_id] = 0
    return (weights / weights.sum()).float()


def sampled_softmax_loss(
    states: torch.Tensor,
    output: nn.Linear,
    labels: torch.Tensor,
    proposal: torch.Tensor,
    samples: int,
) -> torch.Tensor:
    """Estimate the mean cross-entropy from the target and a sample of other words.

    The normaliser of the softmax is estimated by importance sampling (Bengio and Senecal 2003;
    Jean et al. 2015): every sampled word stands for as many words as it is drawn too rarely, so the
    logarithm of its expected count, `samples * proposal`, is taken from its logit. The target is
    always there, its expected count is one; where it is among the sample it is left out of that.
    The estimate of the normaliser is unbiased. That of the loss and of its gradient is not, since
    it goes through a logarithm and a ratio; its bias shrinks as one over `samples`.

    Args:
        states: What the output layer reads, `[batch, hidden]`.
        output: The output layer, from hidden to vocabulary.
        labels: The targets, `int64 [batch]`.
        proposal: Probability that each word is drawn, `[vocab]`, zero for what is no word.
        samples: How many words to draw, with replacement, one sample for the whole batch; from the
            global generator of PyTorch.

    Returns:
        A scalar.
    """
    drawn = torch.multinomial(proposal, samples, replacement=True)
    target_logits = (states * output.weight[labels]).sum(1) + output.bias[labels]
    drawn_logits = nn.functional.linear(states, output.weight[drawn], output.bias[drawn])
    drawn_logits = drawn_logits - (samples * proposal[drawn]).log()
    drawn_logits = drawn_logits.masked_fill(labels[:, None] == drawn, -torch.inf)
    normaliser = torch.cat([target_logits[:, None], drawn_logits], dim=1).logsumexp(1)
    return (normaliser - target_logits).mean()
