"""Advice on labelled data in files: which layers to train."""

import sys
from collections.abc import Sequence
from pathlib import Path

from nlp_transfer.advice import advise_on_texts
from nlp_transfer.emails.reading import read_labelled_texts
from staged_training.heads.advisor import Advice
from staged_training.runtime.printable import one_line


def advise_on_table(
    data: str | Path, label_column: str, text_columns: Sequence[str] | None, vectors: str
) -> Advice:
    """Advice on texts in a file, see `advise_on_texts`.

    Raises:
        InputError: The data or the vectors cannot be read.
    """
    dataset = read_labelled_texts(data, text_columns, label_column).dataset
    return advise_on_texts(dataset["text"], dataset["label"], vectors)


def advise_on_folder(data: str | Path, label_column: str, backbone: str) -> Advice:
    """Advice on images in a folder, see `advise_on_images`.

    Raises:
        InputError: The data or the model cannot be read.
    """
    from vision_transfer.advice import advise_on_images
    from vision_transfer.image_task import check_one_label, read_image_task

    task = read_image_task(data, label_column)
    check_one_label(task)
    for sentence in task.remarks:
        print(one_line(sentence), file=sys.stderr)
    return advise_on_images(task.paths, task.labels, backbone)
