"""Text: vocabularies, word vectors, recurrent models and mail for staged transfer learning.

Importing it makes the models known to the Auto classes and to `pipeline` of `transformers`.
"""

from nlp_transfer import models
from nlp_transfer.alignment import align
from nlp_transfer.vocabulary import build_vocabulary
from nlp_transfer.word_vectors import open_vectors

__all__ = ["align", "build_vocabulary", "models", "open_vectors"]
