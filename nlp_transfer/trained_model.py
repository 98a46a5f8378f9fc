"""A trained model of texts as a folder: weights, tokenizer, and how training went."""

from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerState
from transformers.trainer import TRAINER_STATE_NAME

from staged_training.runtime.files import written_whole
from staged_training.runtime.processes import on_main_process
from staged_training.runtime.seal import seal


def save_trained(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    state: TrainerState,
    folder: str | Path,
) -> None:
    """Save a model with its tokenizer, whole or not at all, from the main process."""

    def save() -> None:
        with written_whole(folder) as temporary:
            model.save_pretrained(temporary)
            tokenizer.save_pretrained(temporary)
            seal(temporary)
            state.save_to_json(str(temporary / TRAINER_STATE_NAME))

    on_main_process(save)
