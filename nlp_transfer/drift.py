"""Publishing a classifier of texts, with what tells later that its inbox is another one."""

from collections.abc import Iterable

import numpy as np
from transformers import AutoTokenizer

from nlp_transfer.text_task import TextTask
from staged_training.experiment.coverage import publish_chosen
from staged_training.experiment.cross_validation import CrossValidation
from staged_training.experiment.drift import add_drift, known_and_held_out
from staged_training.experiment.run_folder import RunFolder
from staged_training.heads.drift import Kinds, known_share, token_kinds


def publish_chosen_texts(run: RunFolder, result: CrossValidation, refit: bool | None) -> bool:
    """Put the chosen model into the folder of a run, with what it knows of its scores and words.

    Args:
        run: The run.
        result: The results of candidates for a `TextTask`.
        refit: As for `CrossValidation.final_model`.

    Returns:
        Whether it was trained on all rows.
    """
    refitted = publish_chosen(run, result, refit)
    task = result.task
    assert isinstance(task, TextTask)
    tokenizer = AutoTokenizer.from_pretrained(run.path)
    ids = [
        np.array(numbers, np.int32)
        for numbers in tokenizer(task.all.texts, truncation=True)["input_ids"]
    ]
    # What is special is no part of a text, but for that which stands for an unknown word.
    uncounted = {*tokenizer.all_special_ids} - {tokenizer.unk_token_id}
    size = max(tokenizer.get_vocab().values()) + 1

    def kinds_of(rows: Iterable[int]) -> Kinds:
        return token_kinds((ids[row] for row in rows), size, [*uncounted])

    held_out: list[float] = []
    for known, part in known_and_held_out(result, refitted=refitted):
        kinds = kinds_of(known)
        held_out += [known_share(kinds, ids[row]) for row in part]
    add_drift(run.path, held_out, kinds_of(range(len(ids))) if refitted else kinds)
    return refitted
