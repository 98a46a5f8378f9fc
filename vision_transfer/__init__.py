"""Images: backbones, heads and pretext tasks for staged transfer learning.

Importing it makes the models known to the Auto classes and to `pipeline` of `transformers`, which
then opens deep images as well.
"""

from vision_transfer import captioning, classification, detection, photo_pipeline

__all__ = ["captioning", "classification", "detection", "photo_pipeline"]
