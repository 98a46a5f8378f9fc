"""A small untrained model for each page of the demo."""

from pathlib import Path

import numpy as np

from nlp_transfer import build_vocabulary
from nlp_transfer.models import RecurrentConfig, RecurrentForSequenceClassification
from nlp_transfer.vocabulary import add_bounds
from vision_transfer.backbones import save_classifier, untrained_backbone
from vision_transfer.captioning.captioner import (
    caption_processor,
    new_captioner,
    save_captioner,
    set_generation,
)
from vision_transfer.detection.pretrained import load_detector

TEXT = "Call me before noon"


def _texts(folder: Path) -> None:
    tokenizer = build_vocabulary([TEXT], min_frequency=1)
    names = {0: "later", 1: "now"}
    config = RecurrentConfig(
        vocab_size=len(tokenizer), id2label=names, label2id={"later": 0, "now": 1}
    )
    RecurrentForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _photos(folder: Path) -> None:
    save_classifier(*untrained_backbone("test_resnet", ["cat", "dog"], 32), folder)


def _detector(folder: Path) -> None:
    model, processor = load_detector("efficientnet-lite0", ["cat", "dog"], size=128)
    save_classifier(model, processor, folder)


def _captioner(folder: Path) -> None:
    vocabulary = build_vocabulary([TEXT], min_frequency=1)
    add_bounds(vocabulary)
    encoder, images = untrained_backbone("test_resnet", ["one", "two"], 32)
    rows = np.zeros((len(vocabulary), 16), np.float32)
    model = new_captioner(encoder, vocabulary, rows, context_size=24, hidden_size=32)
    set_generation(model, longest=12)
    save_captioner(model, caption_processor(images, vocabulary), folder)


MODELS = {"texts": _texts, "photos": _photos, "detector": _detector, "captioner": _captioner}
