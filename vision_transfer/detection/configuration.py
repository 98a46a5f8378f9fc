"""What a Fast R-CNN is made of."""

from collections.abc import Sequence
from typing import Any, Literal

from transformers import PreTrainedConfig


class FastRCNNConfig(PreTrainedConfig):
    """Configuration of `FastRCNNForObjectDetection`.

    Args:
        backbone_config: A `TimmBackboneConfig` as a dictionary; its `out_indices` are the maps that
            are seen side by side.
        proposals: Where the regions come from that are looked at: `network`, a region proposal
            network (Faster R-CNN, Ren et al. 2015); `grid`, the anchors of every place; `given`,
            another method's, as an input (Fast R-CNN, Girshick 2015).
        anchor_sizes: Sides of the anchors, in pixels of what the model sees.
        aspect_ratios: Heights of the anchors by their widths.
        channels: Width of the layer that the feature map is narrowed to.
        hidden_size: Width of the two layers that see a region.
        dropout: Share of what the last of them gives that is dropped.
        num_proposals: Regions of an image that the network proposes.
        num_sampled: Regions of an image that are learnt from in a step.
        num_detections: Boxes that are given for an image at the most.
        **kwargs: What every configuration takes.

    Examples:
        >>> config = FastRCNNConfig(proposals="grid", anchor_sizes=[64, 128], num_labels=3)
        >>> config.proposals, config.anchor_sizes, config.aspect_ratios, config.num_labels
        ('grid', [64, 128], [0.5, 1.0, 2.0], 3)
    """

    model_type = "fast_rcnn"

    def __init__(
        self,
        backbone_config: dict[str, Any] | None = None,
        proposals: Literal["network", "grid", "given"] = "network",
        anchor_sizes: Sequence[float] = (32, 64, 128),
        aspect_ratios: Sequence[float] = (0.5, 1.0, 2.0),
        channels: int = 64,
        hidden_size: int = 256,
        dropout: float = 0.0,
        num_proposals: int = 64,
        num_sampled: int = 16,
        num_detections: int = 20,
        **kwargs: Any,
    ) -> None:
        self.backbone_config = backbone_config or {}
        self.proposals = proposals
        self.anchor_sizes, self.aspect_ratios = list(anchor_sizes), list(aspect_ratios)
        self.channels, self.hidden_size, self.dropout = channels, hidden_size, dropout
        self.num_proposals, self.num_sampled = num_proposals, num_sampled
        self.num_detections = num_detections
        super().__init__(**kwargs)
