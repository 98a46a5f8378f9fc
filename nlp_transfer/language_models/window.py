"""Training the neural probabilistic language model on a stream of texts, and its perplexity."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm
from transformers import (
    PreTrainedTokenizerFast,
    PrinterCallback,
    Trainer,
    TrainingArguments,
    set_seed,
)

from nlp_transfer.language_models.callbacks import BestEpoch, TokenProgress
from nlp_transfer.language_models.configuration_window import WindowLanguageModelConfig
from nlp_transfer.language_models.contexts import Context
from nlp_transfer.language_models.modeling_window import WindowLanguageModel
from nlp_transfer.language_models.window_stream import WindowStream, count_words, joined
from nlp_transfer.trained_model import save_trained
from staged_training.runtime import processes
from staged_training.runtime.errors import InputError
from staged_training.runtime.files import check_replaceable

EXACT_SOFTMAX_WORDS = 20_000
SAMPLED_WORDS = 2_048


def train_window_model(
    texts: Iterable[str],
    tokenizer: PreTrainedTokenizerFast,
    *,
    output_dir: str | Path,
    context: Context | str = "previous 5",
    embedding_size: int = 50,
    hidden_size: int = 100,
    epochs: int = 1,
    batch_size: int = 512,
    learning_rate: float = 2e-3,
    dropout: float = 0.0,
    sampled_words: int | None = None,
    validation: Iterable[str] | None = None,
    seed: int = 0,
    workers: int = 0,
) -> WindowLanguageModel:
    """Train a neural probabilistic language model (Bengio et al. 2003).

    Every word is predicted, `[UNK]` too.

    Args:
        texts: The texts to learn from. They are read once to count their words and once in each
            epoch, in blocks, and so may be larger than memory: a `datasets` column, or an object
            whose `__iter__` opens a file.
        tokenizer: The vocabulary, from `build_vocabulary`.
        output_dir: Where the model, the tokenizer and the log of training are saved.
        context: What a word is predicted from, see `Context`.
        embedding_size: Width of the embedding.
        hidden_size: Width of the hidden layer.
        epochs: How often the texts are read in training.
        batch_size: Words that are predicted in one step.
        learning_rate: Of AdamW; it falls to zero.
        dropout: See `WindowLanguageModelConfig`.
        sampled_words: See `WindowLanguageModelConfig`; by default 0, the exact softmax, for
            vocabularies of up to `EXACT_SOFTMAX_WORDS`, and `SAMPLED_WORDS` beyond.
        validation: Texts whose perplexity is measured after each epoch; the weights of the best
            epoch are kept. Without it, those of the last.
        seed: Of all that is random.
        workers: Processes that read and tokenize the texts while the model trains.

    Returns:
        The model, trained.

    Raises:
        InputError: There is nothing to learn from, see `count_words`; an argument cannot be used;
            or `output_dir` holds something other than a model.

    Examples:
        >>> model = train_window_model(texts, tokenizer, output_dir="model", context="around 2")
        >>> model.embedding_matrix().shape == (len(tokenizer), 50)
        True
    """
    try:
        context = Context.parse(str(context))
    except ValueError as error:
        raise InputError(f"context: {error}") from error
    numbers = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    for name, number in numbers.items():
        if number <= 0:
            raise InputError(f"{name}: expected a number above 0, not {number}.")
    check_replaceable(output_dir)
    words = count_words(texts, tokenizer, "texts")
    if validation is not None:
        count_words(validation, tokenizer, "validation")
    set_seed(seed)
    model = _new_model(
        tokenizer,
        embedding_size=embedding_size,
        hidden_size=hidden_size,
        context=str(context),
        dropout=dropout,
        sampled_words=sampled_words,
    )
    stream = WindowStream(
        texts,
        tokenizer,
        context,
        max(1, batch_size // processes.count()),  # a step takes one of each process
        words=words,
        workers=workers,
        shuffle=True,
        seed=seed,
    )
    arguments = TrainingArguments(
        str(output_dir),
        seed=seed,
        num_train_epochs=epochs,
        per_device_train_batch_size=1,  # of the batches of the stream
        learning_rate=learning_rate,
        dataloader_num_workers=workers,
        dataloader_pin_memory=torch.accelerator.is_available(),  # it warns where there is none
        include_num_input_tokens_seen="all",
        logging_steps=100,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    trainer = Trainer(model, arguments, train_dataset=stream, data_collator=joined)
    trainer.remove_callback(PrinterCallback)
    if validation is not None:
        trainer.add_callback(BestEpoch(lambda: perplexity(model, validation, tokenizer)))
    hidden = not trainer.is_world_process_zero()
    with tqdm(
        total=words * epochs, unit="token", unit_scale=True, dynamic_ncols=True, disable=hidden
    ) as bar:
        trainer.add_callback(TokenProgress(bar, context.width))
        trainer.train()
    save_trained(model, tokenizer, trainer.state, output_dir)
    model.eval()
    return model


def _new_model(
    tokenizer: PreTrainedTokenizerFast, *, sampled_words: int | None, **options: Any
) -> WindowLanguageModel:
    """Build a model with random weights for a vocabulary; it starts from the counts of words."""
    size = len(tokenizer)
    if sampled_words is None:
        sampled_words = 0 if size <= EXACT_SOFTMAX_WORDS else SAMPLED_WORDS
    config = WindowLanguageModelConfig(
        vocab_size=size,
        sampled_words=sampled_words,
        pad_token_id=tokenizer.pad_token_id,
        **options,
    )
    model = WindowLanguageModel(config)
    counts = tokenizer.init_kwargs.get("token_counts", [])  # words that were added have none
    model.load_counts(torch.tensor([*counts, *[0] * (size - len(counts))]))
    return model


@torch.no_grad()
def perplexity(
    model: WindowLanguageModel, texts: Iterable[str], tokenizer: PreTrainedTokenizerFast
) -> float:
    """Return the perplexity of a model on texts, by the exact softmax.

    Every word counts, and all that the vocabulary does not hold is one word, `[UNK]`, whose
    probability counts as that of any other. So the perplexities of two models compare only where
    both have the same vocabulary. Where the context is drawn it is drawn from a fixed seed.

    Args:
        model: The model; it is in evaluation mode afterwards.
        texts: Held-out texts.
        tokenizer: The vocabulary of the model.

    Returns:
        The exponential of the mean cross-entropy of the words, in nats: 1 for a model that is
        always sure and right, the number of words for one to which all words are alike.

    Raises:
        InputError: There is nothing to predict in the texts, see `count_words`.

    Examples:
        >>> model = train_window_model(texts, tokenizer, output_dir="model", epochs=2)
        >>> perplexity(model, texts, tokenizer) < len(tokenizer)
        True
    """
    words = count_words(texts, tokenizer, "texts")
    # As many as keep the logits below 256 MB.
    batch_size = min(4096, 1 + 2**26 // model.config.vocab_size)
    stream = WindowStream(texts, tokenizer, Context.parse(model.config.context), batch_size)
    model.eval()
    loss = 0.0
    with tqdm(
        total=words,
        desc="Perplexity",
        unit="token",
        unit_scale=True,
        delay=2,
        dynamic_ncols=True,
        leave=False,
    ) as bar:
        for batch in stream:
            batch = {name: tensor.to(model.device) for name, tensor in batch.items()}
            loss += model(**batch).loss.item() * len(batch["labels"])
            bar.update(len(batch["labels"]))
    return torch.tensor(loss / words, dtype=torch.float64).exp().item()
