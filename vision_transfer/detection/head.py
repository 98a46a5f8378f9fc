"""The head of Fast R-CNN on a feature map: regions, what is in them, and where its edges are."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import MultiScaleRoIAlign, box_convert, clip_boxes_to_image
from transformers.utils import ModelOutput

from .configuration import FastRCNNConfig

_LEAST = 1e-8  # probability
_POOLED = 5  # cells of a region along a side; the 7 of the papers cost more and found no more


@dataclass
class DetectionOutput(ModelOutput):
    """What a detector gives, in the shape of DETR's, whose image processor turns it into boxes.

    Attributes:
        loss: The sum of the losses of regions and of objects.
        logits: Of each class and, last, of no object, `[batch, num_detections, classes + 1]`; where
            fewer objects are found, no object is all but certain.
        pred_boxes: Centre x, centre y, width and height as shares of the image, `[batch,
            num_detections, 4]`.

    Examples:
        >>> from vision_transfer.detection import FastRCNNConfig, FastRCNNForObjectDetection
        >>> config = FastRCNNConfig({"backbone": "resnet10t", "out_indices": [3]}, num_labels=2)
        >>> output = FastRCNNForObjectDetection(config).eval()(torch.zeros(1, 3, 64, 64))
        >>> output.logits.shape, output.pred_boxes.shape, output.loss
        (torch.Size([1, 20, 3]), torch.Size([1, 20, 4]), None)
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    pred_boxes: torch.Tensor | None = None


class FastRCNNHead(nn.Module):
    """Looks at regions of a feature map; made of torchvision's parts.

    Args:
        config: What it is made of.
        in_channels: Those of the feature map.
        stride: Pixels of the image for each cell of the map, along a side.
    """

    def __init__(self, config: FastRCNNConfig, in_channels: int, stride: int) -> None:
        super().__init__()
        self.config, self.stride = config, stride
        self.neck = nn.Sequential(nn.Conv2d(in_channels, config.channels, 1), nn.ReLU())
        self.anchors = AnchorGenerator(
            (tuple(config.anchor_sizes),), (tuple(config.aspect_ratios),)
        )
        is_network = config.proposals == "network"
        self.rpn = _proposal_network(config, self.anchors) if is_network else None
        width = config.channels * _POOLED**2
        classes = int(config.num_labels or 0) + 1  # and the background
        self.roi_heads = RoIHeads(
            MultiScaleRoIAlign(["map"], _POOLED, sampling_ratio=1),
            nn.Sequential(TwoMLPHead(width, config.hidden_size), nn.Dropout(config.dropout)),
            FastRCNNPredictor(config.hidden_size, classes),
            fg_iou_thresh=0.5,
            bg_iou_thresh=0.5,
            batch_size_per_image=config.num_sampled,
            positive_fraction=0.25,
            bbox_reg_weights=None,
            score_thresh=0.01,
            nms_thresh=0.5,
            detections_per_img=config.num_detections,
        )

    def forward(
        self,
        features: torch.Tensor,
        labels: torch.Tensor | list[dict[str, torch.Tensor]] | None = None,
        proposals: torch.Tensor | None = None,
    ) -> DetectionOutput:
        """Find objects on feature maps, `[batch, channels, height, width]`; else as the model."""
        maps = {"map": self.neck(features)}
        height, width = (self.stride * cells for cells in features.shape[-2:])
        sizes = [(height, width)] * len(features)
        images = ImageList(features.new_empty(len(features), 0, height, width), sizes)
        loss = None
        if labels is None:
            regions, _ = self._regions(images, maps, None, proposals)
        else:
            targets = [_target(of_image, width, height) for of_image in labels]
            with self._as_in_training():
                regions, losses = self._regions(images, maps, targets, proposals)
                _, of_objects = self.roi_heads(maps, regions, sizes, targets)
            loss = torch.stack([*losses.values(), *of_objects.values()]).sum()
        if self.training:
            return DetectionOutput(loss=loss)
        found, _ = self.roi_heads(maps, regions, sizes)
        return DetectionOutput(loss, *self._as_output(found, images))

    def _regions(
        self,
        images: ImageList,
        maps: dict[str, torch.Tensor],
        targets: list[dict[str, torch.Tensor]] | None,
        given: torch.Tensor | None,
    ) -> tuple[list[torch.Tensor], dict[str, torch.Tensor]]:
        """Propose regions of each image, in pixels, and compute the losses of the proposals."""
        if self.rpn is not None:
            regions, losses = self.rpn(images, maps, targets)
            return regions, losses
        height, width = images.image_sizes[0]
        if self.config.proposals == "grid":
            anchors = self.anchors(images, list(maps.values()))
            return [clip_boxes_to_image(boxes, (height, width)) for boxes in anchors], {}
        if given is None:
            raise ValueError("This model looks at regions that it is given: pass `proposals`.")
        return [_in_pixels(boxes[boxes[:, 2] > 0], width, height) for boxes in given], {}

    def _as_output(
        self, found: Sequence[dict[str, torch.Tensor]], images: ImageList
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits and boxes of what torchvision found, in operations that ONNX has too."""
        height, width = images.image_sizes[0]
        most, classes = self.config.num_detections, int(self.config.num_labels or 0)
        nothing = images.tensors.new_full((most, classes + 1), _LEAST)
        nothing[:, -1] = 1
        scores, boxes = [], []
        for objects in found:
            sure, number = objects["scores"][:, None], objects["labels"][:, None] - 1
            of_classes = sure.new_full((sure.shape[0], classes), _LEAST).scatter(1, number, sure)
            of_objects = torch.cat([of_classes, (1 - sure).clamp(min=_LEAST)], dim=1)
            scores.append(torch.cat([of_objects, nothing])[:most])
            shares = objects["boxes"] / objects["boxes"].new_tensor([width, height] * 2)
            centred = box_convert(shares, "xyxy", "cxcywh")
            boxes.append(torch.cat([centred, centred.new_zeros(most, 4)])[:most])
        return torch.stack(scores).log(), torch.stack(boxes)

    @contextmanager
    def _as_in_training(self) -> Iterator[None]:
        """Make torchvision's parts give losses, which they do in training only.

        In evaluation the regions that they draw by chance are the same ones each time.
        """
        if self.training:
            yield
            return
        parts = [part for part in (self.rpn, self.roi_heads) if part is not None]
        device = next(self.parameters()).device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(0)
            for part in parts:
                part.training = True  # of itself, not of its layers: dropout stays off
            try:
                yield
            finally:
                for part in parts:
                    part.training = False


def _proposal_network(config: FastRCNNConfig, anchors: AnchorGenerator) -> RegionProposalNetwork:
    """Build the region proposal network of Faster R-CNN, with the thresholds of its paper."""
    # As many in training as otherwise: an evaluation takes the regions that its loss was of.
    kept = {"training": config.num_proposals, "testing": config.num_proposals}
    return RegionProposalNetwork(
        anchors,
        RPNHead(config.channels, anchors.num_anchors_per_location()[0]),
        fg_iou_thresh=0.7,
        bg_iou_thresh=0.3,
        batch_size_per_image=64,
        positive_fraction=0.5,
        pre_nms_top_n={mode: 4 * count for mode, count in kept.items()},
        post_nms_top_n=kept,
        nms_thresh=0.7,
    )


def _target(
    objects: torch.Tensor | dict[str, torch.Tensor], width: int, height: int
) -> dict[str, torch.Tensor]:
    """Return the objects of an image as torchvision wants them: boxes in pixels, classes from 1."""
    if isinstance(objects, torch.Tensor):
        real = objects[objects[:, 0] >= 0]
        classes, boxes = real[:, 0].long(), real[:, 1:]
    else:
        classes, boxes = objects["class_labels"], objects["boxes"]
    return {"labels": classes + 1, "boxes": _in_pixels(boxes, width, height)}


def _in_pixels(boxes: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """Return corners in pixels, of boxes as shares of the image."""
    corners: torch.Tensor = box_convert(boxes, "cxcywh", "xyxy")
    return corners * boxes.new_tensor([width, height] * 2)
