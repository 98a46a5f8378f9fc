"""Texts as segments of word numbers, for recurrent language models; in a file, not in memory."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerFast

from staged_training.runtime.errors import InputError
from staged_training.tables.texts import checked_texts

if TYPE_CHECKING:
    from datasets import Dataset

SEGMENT = 70
"""Words that are predicted in one go, as in AWD-LSTM (Merity et al. 2018)."""

_TEXTS_AT_ONCE = 1000

Item = TypeVar("Item")


def segments(texts: Iterable[str], tokenizer: PreTrainedTokenizerFast) -> Iterator[list[int]]:
    """Cut texts into segments of at most `SEGMENT` + 1 word numbers, never across two texts.

    Each but the first of a text begins with the last word of the one before, so that every word of
    the text but the first is predicted once.
    """
    for block in chunks(checked_texts(texts), _TEXTS_AT_ONCE):
        for ids in tokenizer(block, return_attention_mask=False, verbose=False)["input_ids"]:
            for start in range(0, len(ids) - 1, SEGMENT):
                yield ids[start : start + SEGMENT + 1]


def segment_dataset(
    texts: Iterable[str], tokenizer: PreTrainedTokenizerFast, path: Path, name: str
) -> "Dataset":
    """Write the segments of texts to a file, and open it as rows of `input_ids` and `length`.

    Args:
        texts: The texts; they are read once.
        tokenizer: Their vocabulary.
        path: The file.
        name: What an error calls the texts.

    Raises:
        InputError: There is nothing to predict in the texts.
    """
    import pyarrow as pa
    from datasets import Dataset  # takes a second

    schema = pa.schema({"input_ids": pa.list_(pa.int32()), "length": pa.int32()})
    known = False
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        bar = tqdm(texts, name, unit="text", delay=2, dynamic_ncols=True)
        for chunk in chunks(segments(bar, tokenizer), _TEXTS_AT_ONCE):
            lengths = [len(ids) for ids in chunk]
            writer.write_batch(pa.record_batch([chunk, lengths], schema=schema))
            known = known or any(i != tokenizer.unk_token_id for ids in chunk for i in ids)
    if not known:
        raise InputError(
            f"{name}: no text has two words of which the vocabulary knows one. Give running text, "
            "and build the vocabulary over it."
        )
    return Dataset.from_file(str(path))


def chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield items in lists of a size; the last may be shorter."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
