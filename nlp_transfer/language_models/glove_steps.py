"""The steps of GloVe, compiled."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@njit(nogil=True, fastmath={"reassoc", "contract"})
def descend(
    order: NDArray[np.int64],
    rows: NDArray[np.int32],
    columns: NDArray[np.int32],
    logs: Floats,
    weights: Floats,
    vectors: Floats,
    squares: Floats,
    rate: float,
) -> float:
    """Take a step of AdaGrad for each cell, in both directions; return the losses before them.

    Args:
        order: The numbers of the cells, in the order in which to take them.
        rows: A word of each cell, `[cells]`.
        columns: The other one, `[cells]`.
        logs: The logarithm of the count, `[cells]`.
        weights: What each weighs in the loss, `[cells]`.
        vectors: Of each word as itself and as context, the bias last: `[2, words, dim + 1]`.
        squares: The sums of squared gradients, as large.
        rate: The learning rate.

    Returns:
        The sum of the losses.
    """
    dim = vectors.shape[2] - 1
    loss = 0.0
    for cell in order:
        for turned in range(1 if rows[cell] == columns[cell] else 2):
            row = columns[cell] if turned else rows[cell]
            column = rows[cell] if turned else columns[cell]
            word, context = vectors[0, row], vectors[1, column]
            of_word, of_context = squares[0, row], squares[1, column]
            product = np.float32(0)
            for n in range(dim):
                product += word[n] * context[n]
            error = product + word[dim] + context[dim] - logs[cell]
            weighted = weights[cell] * error
            loss += weighted * error
            for n in range(dim):
                downhill, for_context = weighted * context[n], weighted * word[n]
                of_word[n] += downhill * downhill
                of_context[n] += for_context * for_context
                word[n] -= rate * downhill / np.sqrt(of_word[n])
                context[n] -= rate * for_context / np.sqrt(of_context[n])
            of_word[dim] += weighted * weighted
            of_context[dim] += weighted * weighted
            word[dim] -= rate * weighted / np.sqrt(of_word[dim])
            context[dim] -= rate * weighted / np.sqrt(of_context[dim])
    return loss
