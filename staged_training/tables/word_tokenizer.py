"""A tokenizer whose tokens are the words of a text."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from transformers import PreTrainedTokenizer

from .words import long_words


class WordTokenizer(PreTrainedTokenizer):
    """A tokenizer of the words of two characters or more, in lower case, in any script.

    A text is never cut by default. What stands for padding or for an unknown word, such as `[UNK]`,
    is a word like any other where a text holds it.

    Args:
        vocab: The number of each word, or the JSON file that holds them. `[PAD]` and `[UNK]` are
            among them.
        pad_token: What texts are padded with.
        unk_token: What an unknown word becomes.
        model_max_length: Words after which `truncation=True` cuts a text.
        **kwargs: What every tokenizer takes.

    Examples:
        >>> tokenizer = WordTokenizer({"[PAD]": 0, "[UNK]": 1, "call": 2, "noon": 3})
        >>> tokenizer.tokenize("Call me at NOON, not 9!")
        ['call', 'me', 'at', 'noon', 'not']
        >>> tokenizer("Call me at NOON, not 9!")["input_ids"]
        [2, 1, 1, 3, 1]
    """

    vocab_files_names = {"vocab": "vocab.json"}  # noqa: RUF012 - as `transformers` has it
    model_input_names = ["input_ids", "attention_mask"]  # noqa: RUF012

    def __init__(
        self,
        vocab: Mapping[str, int] | str | Path,
        pad_token: str = "[PAD]",
        unk_token: str = "[UNK]",
        model_max_length: int = 2**31,
        **kwargs: Any,
    ) -> None:
        if not isinstance(vocab, Mapping):
            vocab = json.loads(Path(vocab).read_text(encoding="utf-8"))
        self.vocab = dict(cast(Mapping[str, int], vocab))
        self._words = {number: word for word, number in self.vocab.items()}
        tokens = {"pad_token": pad_token, "unk_token": unk_token}
        super().__init__(**tokens, model_max_length=model_max_length, **kwargs)  # type: ignore[no-untyped-call]

    @property
    def vocab_size(self) -> int:
        """The number of words, with `[PAD]` and `[UNK]`."""
        return len(self.vocab)

    def get_vocab(self) -> dict[str, int]:
        """Return the number of each word."""
        return self.vocab | self.added_tokens_encoder

    def tokenize(self, text: str, *args: Any, **kwargs: Any) -> list[str]:
        """Return the words of a text, known or not; other arguments mean nothing here."""
        return long_words(text.lower())

    def _convert_token_to_id(self, token: str) -> int:
        return self.vocab.get(token, self.vocab[self.unk_token])

    def _convert_id_to_token(self, index: int) -> str:
        return self._words.get(index, str(self.unk_token))


# What is saved carries this code, for those who load it without the package.
WordTokenizer.register_for_auto_class()
