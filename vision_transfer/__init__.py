"""Images: backbones, heads and pretext tasks for staged transfer learning.

Importing it makes the models known to the Auto classes and to `pipeline` of `transformers`, which
then opens deep images as well. All else is imported when it is asked for.
"""

from importlib.metadata import version

import lazy_loader

from vision_transfer import captioning as captioning
from vision_transfer import classification as classification
from vision_transfer import detection as detection
from vision_transfer import photo_pipeline as photo_pipeline

__version__ = version("nlp-transfer")
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
