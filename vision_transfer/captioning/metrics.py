"""Scores of captions (BLEU-4, ROUGE-L, CIDEr), and what a captioner has to beat.

They are those of `pycocoevalcap`, by which captions of COCO are measured. Its tokenizer is left
out, as it needs Java: captions are compared by their `words`.
"""

from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer

from staged_training.runtime.errors import InputError
from vision_transfer.captioning.task import words

TITLES = {"cider": "CIDEr", "bleu": "BLEU-4", "rouge": "ROUGE-L"}


def require_metrics() -> None:
    """Refuse to begin without the library of the scores.

    Raises:
        InputError: It is not installed.
    """
    if not find_spec("pycocoevalcap"):
        raise InputError("Captions are scored by a library: pip install 'nlp-transfer[captions]'.")


def caption_scores(said: Sequence[str], true: Sequence[Sequence[str]]) -> dict[str, float]:
    """BLEU-4 (Papineni et al. 2002), ROUGE-L (Lin 2004) and CIDEr (Vedantam et al. 2015).

    Args:
        said: A caption of each image.
        true: Its true captions. How telling words are for CIDEr is found from these, as is usual:
            scores of different sets of images cannot be compared.

    Returns:
        By the names of `TITLES`. CIDEr is that of COCO (CIDEr-D), 10 at the most.
    """
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.rouge.rouge import Rouge

    references, candidates = _numbered(said, true)
    bleu, _ = Bleu(4).compute_score(references, candidates, verbose=0)
    rouge, _ = Rouge().compute_score(references, candidates)
    cider = float(cider_of_each(said, true).mean())
    return {"cider": cider, "bleu": float(bleu[3]), "rouge": float(rouge)}


def cider_of_each(said: Sequence[str], true: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """The CIDEr of each caption, `[images]`; arguments as for `caption_scores`."""
    from pycocoevalcap.cider.cider import Cider

    _, scores = Cider().compute_score(*_numbered(said, true))
    return np.asarray(scores, np.float64)


def _numbered(
    said: Sequence[str], true: Sequence[Sequence[str]]
) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    references = {n: [words(caption) for caption in captions] for n, captions in enumerate(true)}
    return references, {n: [words(caption)] for n, caption in enumerate(said)}


def most_common_caption(captions: Sequence[Sequence[str]]) -> str:
    """The caption to say of every image: the most frequent one, or where all differ the most usual.

    The most usual is that which is most like all the others, by the cosine between the tf-idf of
    their one to four words in a row, of which CIDEr is the mean too.

    Args:
        captions: Of each training image.
    """
    flat = [caption for of_image in captions for caption in of_image]
    found, counts = np.unique(flat, return_counts=True)
    if (counts == counts.max()).sum() == 1:
        return str(found[counts.argmax()])
    likeness = np.zeros(len(flat))
    longest = max(len(caption.split()) for caption in flat)
    for length in range(1, 1 + min(4, longest)):
        in_a_row = TfidfVectorizer(ngram_range=(length, length), token_pattern=r"\S+")
        rows = in_a_row.fit_transform(flat)
        likeness += rows @ np.asarray(rows.mean(axis=0)).ravel()
    return flat[likeness.argmax()]


def nearest_captions(
    features: torch.Tensor, known: torch.Tensor, captions: Sequence[Sequence[str]]
) -> list[str]:
    """For each image the first caption of the training image that its features are most like.

    Args:
        features: Of the images, `[images, width]`; of a map, `[images, cells, width]`, the mean.
        known: Of the training images.
        captions: Of each training image.
    """
    left, right = (torch.nn.functional.normalize(_flat(part), dim=1) for part in (features, known))
    return [captions[row][0] for row in (left @ right.T).argmax(dim=1).tolist()]


def _flat(features: torch.Tensor) -> torch.Tensor:
    return features.mean(dim=1) if features.ndim == 3 else features
