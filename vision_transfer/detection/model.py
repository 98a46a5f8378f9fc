"""Fast R-CNN as a `transformers` model: a timm backbone, and a head on its feature map."""

from typing import Any, cast

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForObjectDetection,
    DetrImageProcessor,
    PreTrainedModel,
    TimmBackbone,
    TimmBackboneConfig,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES

from .configuration import FastRCNNConfig
from .head import DetectionOutput, FastRCNNHead


class FastRCNNForObjectDetection(PreTrainedModel):
    """Finds objects: Fast R-CNN (Girshick 2015), by default with Faster R-CNN's proposals.

    Where the backbone gives several maps, they are brought to the size of the first and seen side
    by side (hypercolumns, Hariharan et al. 2015): fine places, and what is there.

    Args:
        config: What it is made of.

    Raises:
        ValueError: In `forward`, where regions are to be given and are not.

    Examples:
        >>> from vision_transfer.detection import FastRCNNConfig
        >>> backbone = {"backbone": "resnet10t", "out_indices": [2, 3]}
        >>> model = FastRCNNForObjectDetection(FastRCNNConfig(backbone, num_labels=1))
        >>> truth = torch.tensor([[[0, 0.5, 0.5, 0.2, 0.4]]])  # class 0 in the middle
        >>> bool(model(torch.zeros(1, 3, 64, 64), truth).loss > 0)
        True
        >>> model.feature_map(torch.zeros(1, 3, 64, 64)).shape
        torch.Size([1, 384, 8, 8])
    """

    config_class = FastRCNNConfig
    base_model_prefix = "backbone"
    main_input_name = "pixel_values"
    accepts_loss_kwargs = False  # its losses are means

    def __init__(self, config: FastRCNNConfig) -> None:
        super().__init__(config)
        settings = {k: v for k, v in config.backbone_config.items() if k != "model_type"}
        self.backbone = TimmBackbone(TimmBackboneConfig(**settings))
        stride = min(cast(Any, self.backbone._backbone).feature_info.reduction())
        self.head = FastRCNNHead(config, sum(self.backbone.channels), stride)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Keep layers as `torch`, torchvision and timm initialize them."""

    def feature_map(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Compute the feature maps of the backbone, joined: `[batch, channels, height, width]`."""
        first, *others = self.backbone(pixel_values).feature_maps
        size = first.shape[-2:]
        resized = (nn.functional.interpolate(o, size=size, mode="bilinear") for o in others)
        return torch.cat([first, *resized], dim=1) if others else first

    def forward(
        self,
        pixel_values: torch.Tensor,
        labels: torch.Tensor | list[dict[str, torch.Tensor]] | None = None,
        proposals: torch.Tensor | None = None,
    ) -> DetectionOutput:
        """Find objects.

        Args:
            pixel_values: `[batch, channels, height, width]`, as the processor prepares them.
            labels: The true objects, `[batch, objects, 5]`: the number of the class, then centre x,
                centre y, width and height as shares of the image; -1 as class where an image has
                fewer objects. Or, as the processors of `transformers` give them, for each image a
                dictionary of `class_labels` and `boxes`.
            proposals: Where the configuration says that they are given, the regions to look at,
                `[batch, regions, 4]`, as shares like those of labels; of width 0 where an image has
                fewer.

        Returns:
            With labels the loss; but while it trains, also what it finds; see `DetectionOutput`.

        Raises:
            ValueError: Regions are to be given, and are not.
        """
        found: DetectionOutput = self.head(self.feature_map(pixel_values), labels, proposals)
        return found


FastRCNNConfig.register_for_auto_class()
FastRCNNForObjectDetection.register_for_auto_class("AutoModelForObjectDetection")
AutoConfig.register(FastRCNNConfig.model_type, FastRCNNConfig)
AutoModelForObjectDetection.register(FastRCNNConfig, FastRCNNForObjectDetection)
AutoImageProcessor.register(
    FastRCNNConfig, image_processor_classes={"torchvision": DetrImageProcessor}
)
# Or `pipeline` would say of every model that it is not supported.
MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES[FastRCNNConfig.model_type] = "FastRCNNForObjectDetection"
