"""Images: backbones, heads and pretext tasks for staged transfer learning.

Importing it makes the models known to the Auto classes and to `pipeline` of `transformers`.
"""

from vision_transfer import captioning, classification, detection

__all__ = ["captioning", "classification", "detection"]
