"""Image captioning: images and captions, models that say what an image shows, and their scores."""

from vision_transfer.captioning.modeling_captioner import (
    CaptionerConfig,
    CaptionerForImageTextToText,
)

__all__ = ["CaptionerConfig", "CaptionerForImageTextToText"]
