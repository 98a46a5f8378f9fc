"""Scores of captions (BLEU-4, ROUGE-L, CIDEr), and baselines for captioners.

The scores are those of `pycocoevalcap`, the reference implementation for COCO. Its tokenizer needs
Java and is not used: captions are compared by their `words`.
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
    """Refuse to run without the library that computes the scores.

    Raises:
        InputError: It is not installed.
    """
    if not find_spec("pycocoevalcap"):
        raise InputError("Captions are scored by a library: pip install 'nlp-transfer[captions]'.")


def caption_scores(predicted: Sequence[str], true: Sequence[Sequence[str]]) -> dict[str, float]:
    """Return BLEU-4 (Papineni et al. 2002), ROUGE-L (Lin 2004), CIDEr (Vedantam et al. 2015).

    Args:
        predicted: A caption of each image.
        true: The true captions of each image. CIDEr takes its document frequencies from them, as
            usual: scores of different sets of images cannot be compared.

    Returns:
        The scores by the names of `TITLES`. CIDEr is that of COCO (CIDEr-D), at most 10.
    """
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.rouge.rouge import Rouge

    references, candidates = _numbered(predicted, true)
    bleu, _ = Bleu(4).compute_score(references, candidates, verbose=0)
    rouge, _ = Rouge().compute_score(references, candidates)
    cider = float(cider_of_each(predicted, true).mean())
    return {"cider": cider, "bleu": float(bleu[3]), "rouge": float(rouge)}


def cider_of_each(predicted: Sequence[str], true: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """Return the CIDEr of each caption, `[images]`; arguments as for `caption_scores`."""
    from pycocoevalcap.cider.cider import Cider

    _, scores = Cider().compute_score(*_numbered(predicted, true))
    return np.asarray(scores, np.float64)


def _numbered(
    predicted: Sequence[str], true: Sequence[Sequence[str]]
) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    references = {n: [words(caption) for caption in captions] for n, captions in enumerate(true)}
    return references, {n: [words(caption)] for n, caption in enumerate(predicted)}


def most_common_caption(captions: Sequence[Sequence[str]]) -> str:
    """Return the most frequent caption or, if all differ, the one most similar to all others.

    Similarity is the cosine between tf-idf vectors of n-grams of one to four words, which CIDEr
    averages, too.

    Args:
        captions: The captions of each training image.
    """
    flat = [caption for of_image in captions for caption in of_image]
    found, counts = np.unique(flat, return_counts=True)
    if (counts == counts.max()).sum() == 1:
        return str(found[counts.argmax()])
    similarity = np.zeros(len(flat))
    longest = max(len(caption.split()) for caption in flat)
    for length in range(1, 1 + min(4, longest)):
        n_grams = TfidfVectorizer(ngram_range=(length, length), token_pattern=r"\S+")
        rows = n_grams.fit_transform(flat)
        similarity += rows @ np.asarray(rows.mean(axis=0)).ravel()
    return flat[similarity.argmax()]


def nearest_captions(
    features: torch.Tensor, known: torch.Tensor, captions: Sequence[Sequence[str]]
) -> list[str]:
    """Return for each image the first caption of the training image with the nearest features.

    Args:
        features: Features of the images, `[images, width]`; those of a map,
            `[images, cells, width]`, are averaged over its cells.
        known: Features of the training images.
        captions: The captions of each training image.
    """
    left, right = (torch.nn.functional.normalize(_flat(part), dim=1) for part in (features, known))
    return [captions[row][0] for row in (left @ right.T).argmax(dim=1).tolist()]


def _flat(features: torch.Tensor) -> torch.Tensor:
    return features.mean(dim=1) if features.ndim == 3 else features
