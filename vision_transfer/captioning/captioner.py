"""Captioners on a pretrained image model and a word embedding: made, saved and used."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from transformers import (
    BaseImageProcessor,
    BitImageProcessor,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    VisionTextDualEncoderProcessor,
    default_data_collator,
    set_seed,
)

from staged_training.features.extraction import compute_features
from staged_training.features.reuse import features_key
from staged_training.features.store import FeatureDataset
from staged_training.layers import head_layers
from staged_training.runtime.files import written_whole
from staged_training.runtime.seal import seal
from vision_transfer.captioning.modeling_captioner import (
    CaptionerConfig,
    CaptionerForImageTextToText,
)
from vision_transfer.captioning.task import CaptionTask
from vision_transfer.preprocessing import check_preprocessing


def new_captioner(
    encoder: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    embedding: NDArray[np.float32],
    seed: int = 0,
    **settings: Any,
) -> CaptionerForImageTextToText:
    """Put a new decoder on a pretrained image model.

    Args:
        encoder: An image classifier, as `load_backbone` loads it. It is copied, without its head.
        tokenizer: The vocabulary, with tokens that begin and end a caption.
        embedding: The row of each of its words, `float32 [len(tokenizer), width]`.
        seed: Of the random weights of the decoder.
        **settings: Of `CaptionerConfig`, such as `attention=True`.

    Raises:
        ValueError: The embedding is not one of this vocabulary.
    """
    if len(embedding) != len(tokenizer):
        raise ValueError(
            f"The embedding has {len(embedding)} rows and the vocabulary {len(tokenizer)} words: "
            "align the vectors to this tokenizer."
        )
    special = ("pad_token_id", "unk_token_id", "bos_token_id", "eos_token_id")
    settings |= {name: getattr(tokenizer, name) for name in special}
    settings |= {"vocab_size": len(tokenizer), "embedding_size": embedding.shape[1]}
    set_seed(seed)
    model = _on_encoder(encoder, **settings)
    with torch.no_grad():
        model.decoder.embedding.weight.copy_(torch.from_numpy(embedding))
    return model


def image_features(
    encoder: PreTrainedModel,
    processor: BaseImageProcessor,
    task: CaptionTask,
    folder: Path,
    *,
    attention: bool = False,
) -> FeatureDataset:
    """Return the features of all images of a task for any captioner on an encoder.

    They are computed once and kept in a file.

    Args:
        encoder: An image classifier, as `load_backbone` loads it.
        processor: Its preprocessing.
        task: The images.
        folder: The folder of the file.
        attention: Whether the decoder attends to the cells of the last feature map.
    """
    images = task.images(range(len(task.paths)), _savable(processor))
    cache = folder / f"{features_key(encoder, images.fingerprint)}.safetensors"
    model = _on_encoder(encoder, attention=attention)
    return compute_features(model, images, default_data_collator, cache)


def _on_encoder(encoder: PreTrainedModel, **settings: Any) -> CaptionerForImageTextToText:
    path, last = head_layers(encoder).popitem()
    width = _width_of_map(encoder) if settings.get("attention") else last.in_features
    config = CaptionerConfig(
        encoder_config=encoder.config.to_dict(), replaced=path, feature_size=width, **settings
    )
    return CaptionerForImageTextToText(config, copy.deepcopy(encoder))


def _width_of_map(encoder: PreTrainedModel) -> int:
    """Return the channels of the last feature map of an image model."""
    of_timm = getattr(encoder.base_model, "num_features", None)
    config = cast(Any, encoder.config)
    return int(of_timm or getattr(config, "hidden_sizes", [getattr(config, "hidden_size", 0)])[-1])


def caption_processor(
    images: BaseImageProcessor, tokenizer: PreTrainedTokenizerFast
) -> VisionTextDualEncoderProcessor:
    """Return one processor for images and captions of a captioner, which can be saved."""
    return VisionTextDualEncoderProcessor(_savable(images), tokenizer)


def _savable(processor: BaseImageProcessor) -> BaseImageProcessor:
    """Return a `transformers` processor in place of one of timm, which cannot be saved alone."""
    if not hasattr(processor, "data_config"):
        return processor
    settings = processor.data_config
    height, width = settings["input_size"][1:]
    same = BitImageProcessor(
        size={"shortest_edge": int(min(height, width) / settings["crop_pct"])},
        crop_size={"height": height, "width": width},
        resample=Image.Resampling[settings["interpolation"].upper()],
        image_mean=list(settings["mean"]),
        image_std=list(settings["std"]),
    )
    check_preprocessing(same, processor)
    return same


def caption_labels(tokenizer: PreTrainedTokenizerFast, captions: Sequence[str]) -> torch.Tensor:
    """Return captions as labels of a decoder, `int64 [captions, tokens]`, padded with -100."""
    tokens = tokenizer(list(captions), add_special_tokens=False)["input_ids"]
    ended = [torch.tensor([*words, tokenizer.eos_token_id]) for words in tokens]
    return torch.nn.utils.rnn.pad_sequence(ended, batch_first=True, padding_value=-100)


class CaptionPairs(Dataset[dict[str, torch.Tensor]]):
    """Each caption with its image, as a captioner learns them: `labels` beside what the images are.

    Args:
        images: Their features, or the images as the processor prepares them.
        captions: Of each image.
        tokenizer: The vocabulary.
    """

    def __init__(
        self,
        images: Dataset[Any],
        captions: Sequence[Sequence[str]],
        tokenizer: PreTrainedTokenizerFast,
    ) -> None:
        self.images = images
        self.rows = [row for row, of_image in enumerate(captions) for _ in of_image]
        self.labels = caption_labels(tokenizer, [text for texts in captions for text in texts])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {**self.images[self.rows[index]], "labels": self.labels[index]}


def captions_of(
    model: CaptionerForImageTextToText,
    dataset: Dataset[Any],
    tokenizer: PreTrainedTokenizerFast,
    **generation: Any,
) -> list[str]:
    """Return the caption that a captioner generates for each image.

    Args:
        model: The captioner.
        dataset: Examples with `features` or `pixel_values`.
        tokenizer: Its vocabulary.
        **generation: How to search for the words, in place of its `generation_config`.
    """
    model.eval()
    captions: list[str] = []
    for batch in DataLoader(dataset, batch_size=64, collate_fn=default_data_collator):
        name = "features" if "features" in batch else "pixel_values"
        words = model.generate(**{name: batch[name].to(model.device)}, **generation)
        captions += tokenizer.batch_decode(words, skip_special_tokens=True)
    return captions


def set_generation(model: CaptionerForImageTextToText, longest: int, **search: Any) -> None:
    """Set the generation config of a captioner, which is saved with it.

    Args:
        model: The captioner.
        longest: Tokens of a caption at the most.
        **search: Of `GenerationConfig`, such as `num_beams`.
    """
    config = model.config
    never = [config.pad_token_id, config.unk_token_id, config.bos_token_id]
    model.generation_config = GenerationConfig(
        pad_token_id=config.pad_token_id,
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        suppress_tokens=never,
        max_new_tokens=longest,
        **search,
    )


def save_captioner(
    model: CaptionerForImageTextToText, processor: VisionTextDualEncoderProcessor, folder: Path
) -> None:
    """Save a captioner with its processor, whole or not at all."""
    with written_whole(folder) as temporary:
        model.save_pretrained(temporary)
        processor.save_pretrained(temporary)
        seal(temporary)
