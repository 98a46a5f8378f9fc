"""Small untrained models of each kind, saved as a run saves them."""

from torch import nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, TrainerState, set_seed

from nlp_transfer import build_vocabulary
from nlp_transfer.encoder_classifier import packaged_encoder
from nlp_transfer.models import RecurrentConfig, RecurrentForSequenceClassification
from nlp_transfer.trained_model import save_trained

TEXTS = ["The server is down, call me before noon", "Lunch was good", "see you next summer"]
NAMES = {
    "single_label_classification": ["bill", "order", "technical"],
    "multi_label_classification": ["late", "broken", "rude"],
    "regression": ["minutes"],
}
"""What a model of each `problem_type` predicts."""


def save_text_model(folder, problem_type, names=None, bias=(), **config):
    """Save a recurrent model of texts, with numbers added to the bias of its head."""
    names = names or NAMES[problem_type]
    tokenizer = build_vocabulary(TEXTS, min_frequency=1)
    set_seed(0)
    options = {"embedding_size": 8, "hidden_size": 6, "pooling": ["mean", "max"]}
    model = RecurrentForSequenceClassification(
        RecurrentConfig(vocab_size=len(tokenizer), problem_type=problem_type, **options)
    )
    model.new_head(names)
    _finish(model, model.classifier, bias, config)
    save_trained(model, tokenizer, TrainerState(), folder)


def save_encoder(folder):
    """Save an encoder of the architecture and with the tokenizer of the shipped one; its folder."""
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = AutoConfig.from_pretrained(packaged_encoder("bert"), intermediate_size=32, **sizes)
    AutoModel.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(packaged_encoder("bert")).save_pretrained(folder)
    return folder


def save_image_model(folder, problem_type, names=None, bias=(), channels=3, **config):
    """Save a convolutional network for images of 32 x 32 pixels, with a head that sees them."""
    from vision_transfer.backbones import head_layer, save_classifier, untrained_backbone

    names = names or NAMES[problem_type]
    model, processor = untrained_backbone("test_resnet", names, 32, channels)
    model.config.pretrained_cfg["crop_pct"] = 0.875  # as most have it: a margin is cut off
    head_layer(model).weight.data.normal_(std=1e5)  # the features of new layers are tiny
    _finish(model, head_layer(model), bias, {"problem_type": problem_type} | config)
    save_classifier(model, processor, folder)


def save_detector(folder, background=2, **settings):
    """Save a detector for 64 x 64 pixels that finds dogs in photos and none in plain images."""
    from vision_transfer.backbones import save_classifier
    from vision_transfer.detection.pretrained import load_detector

    settings |= {"channels": 16, "hidden_size": 16}
    model, processor = load_detector("efficientnet-lite0", ["cat", "dog"], 64, **settings)
    scores = model.head.roi_heads.box_predictor.cls_score
    scores.weight.data = 20 * scores.weight.data[[0, 2, 1]]
    scores.bias.data[0] += background
    save_classifier(model, processor, folder)


def _finish(model, head, bias, config):
    for name, value in config.items():
        setattr(model.config, name, value)
    for number, value in enumerate(bias):
        head.bias.data[number] += value


def without_dropout(model):
    """Return a model that drops nothing in training, so that two ways to train it can be equal."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model
