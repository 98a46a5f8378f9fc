"""Maps of word vectors: words that stand in like surroundings lie near one another."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from numpy.typing import ArrayLike
from sklearn.manifold import TSNE
from sklearn.preprocessing import normalize

if TYPE_CHECKING:  # the extra `plots`
    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox

_PERPLEXITY = 8
# Where a label may stand: points right and up of its dot, and which of its sides is there.
_PLACES = [
    *(((4, 2), "left"), ((-4, 2), "right"), ((4, -9), "left"), ((-4, -9), "right")),
    *(((0, 5), "center"), ((0, -12), "center")),
]


def plot_map(path: Path, words: Sequence[str], matrix: ArrayLike, seed: int = 0) -> None:
    """Draw words on a plane by t-SNE (van der Maaten and Hinton 2008), by cosine similarity.

    Args:
        path: Where to write the picture.
        words: Two words or more; some hundred can be read.
        matrix: Their vectors, `[len(words), dim]`.
        seed: Of all that is random.
    """
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

    perplexity = min(_PERPLEXITY, (len(words) - 1) / 2)
    tsne = TSNE(perplexity=perplexity, init="random", random_state=seed)
    places = tsne.fit_transform(normalize(matrix))
    figure = Figure(figsize=(9, 7))
    axes = figure.add_axes((0, 0, 1, 1), frame_on=False, xticks=[], yticks=[])
    axes.margins(0.07)
    axes.scatter(places[:, 0], places[:, 1], s=6, color="0.6")
    axes.autoscale_view()
    dots = axes.transData.transform(places)
    taken = [Bbox.from_bounds(x - 1, y - 1, 2, 2) for x, y in dots]
    for word, (x, y) in zip(words, places, strict=True):
        taken.append(_label(axes, word, (x, y), taken))
    figure.savefig(path, dpi=130)


def _label(axes: "Axes", word: str, place: tuple[float, float], taken: "Sequence[Bbox]") -> "Bbox":
    """Write a word beside its dot with the least overlap, and return the space that it takes."""
    texts = [
        axes.annotate(word, place, offset, textcoords="offset points", fontsize=9, ha=side)
        for offset, side in _PLACES
    ]
    boxes = [text.get_window_extent() for text in texts]
    overlaps = [box.count_overlaps(taken) for box in boxes]
    best = overlaps.index(min(overlaps))
    for number, text in enumerate(texts):
        if number != best:
            text.remove()
    return boxes[best]
