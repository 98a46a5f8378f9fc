"""Images: backbones, heads and pretext tasks for staged transfer learning.

Importing it makes the models known to the Auto classes and to `pipeline` of `transformers`.
"""

import vision_transfer.classification
import vision_transfer.detection.model  # noqa: F401
