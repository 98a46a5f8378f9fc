"""The scale on which numbers are learnt."""

from typing import Any, NamedTuple


class Scaling(NamedTuple):
    """The mean and the deviation by which numbers are standardized to be learnt."""

    mean: float = 0.0
    std: float = 1.0

    def scale(self, values: Any) -> Any:
        """Return numbers, of any kind that can be computed with, as they are learnt.

        What is not to be scaled, such as the numbers of labels, comes back as it is.
        """
        if self == Scaling():
            return values
        return (values - self.mean) / self.std

    def unscale(self, logits: Any) -> Any:
        """Return what was learnt in the units of the numbers."""
        return self.std * logits + self.mean
