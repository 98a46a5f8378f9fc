"""Text: vocabularies, word vectors, recurrent models and mail for staged transfer learning.

Importing it makes the models known to the Auto classes and to `pipeline` of `transformers`. All
else is imported when it is asked for.
"""

from importlib.metadata import version

import lazy_loader

from nlp_transfer import models as models

__version__ = version("nlp-transfer")
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
