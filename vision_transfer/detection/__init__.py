"""Detection: Fast R-CNN on any timm backbone, the usual annotation formats, COCO's scores.

Importing it makes the models known to the Auto classes and to `pipeline` of `transformers`.
"""

from .configuration import FastRCNNConfig
from .head import DetectionOutput
from .model import FastRCNNForObjectDetection

__all__ = ["DetectionOutput", "FastRCNNConfig", "FastRCNNForObjectDetection"]
