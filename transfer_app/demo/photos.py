"""The page on which people try a model of photos: labels, captions or boxes."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import gradio as gr

from staged_training import InputError
from staged_training.runtime.photos import BrokenImageError, check_image, load_rgb
from transfer_app.demo.page import new_page, scores_of
from transfer_app.prediction.answers import Answer
from transfer_app.prediction.classifiers import PhotoClassifier
from transfer_app.prediction.inputs import Input, usable
from transfer_app.prediction.photos import PHOTOS, SAMPLES, PhotoPredictor
from transfer_app.prediction.scan_inputs import scans
from vision_transfer.ct.series import is_scan

MOST_PHOTOS = 32
_TITLES = {  # of pages, and what they show
    "image-classification": (
        "Photos, labelled",
        "Beside each photo the places that spoke for its label, or raised its number, are bright.",
    ),
    "image-text-to-text": (
        "Photos, described",
        "It says what each shows, in the words that it learnt.",
    ),
    "object-detection": ("Photos, searched", "It marks what it finds."),
}


def blocks(predictor: PhotoPredictor) -> gr.Blocks:
    """Return the page of a model."""
    title, shows = _TITLES[predictor.task]
    classifies = isinstance(predictor, PhotoClassifier)
    read = partial(read_pictures, ct=predictor.ct) if classifies else read_photos

    def look(files: Sequence[str] | None) -> tuple[object, ...]:
        inputs, notes = read(files or [])
        found = list(predictor.predict(inputs))
        told = [f"{item.name}: {', '.join(prediction.lines)}" for item, prediction in found]
        pictures = [predictor.picture(*one) for one in found]
        gallery = gr.Gallery(list(zip(pictures, told, strict=True)), visible=bool(found))
        results = gallery, "\n".join([*told, *notes])
        if not classifies:
            return results
        scored = [(item.name, scores_of(cast(Answer, answer))) for item, answer in found]
        return scored, *results, gr.Label(visible=False)

    def show(scored: list[tuple[str, dict[str, float] | str]], event: gr.SelectData) -> gr.Label:
        name, scores = scored[cast(int, event.index)]
        return gr.Label(scores, label=f"Scores of {name}", visible=True)

    page = new_page(title)
    with page:
        gr.Markdown(f"# {title}\nDrop photos; nothing leaves this computer. {shows}")
        suffixes = [".dcm", ".nii", ".gz"] if classifies else []
        files = gr.File(
            label="CT: files of DICOM, or NIfTI" if predictor.ct else "Photos",
            file_count="multiple",
            file_types=None if predictor.ct else ["image", *suffixes],
            height=160,
        )
        with gr.Row():
            button = gr.Button("Look", variant="primary")
            samples = gr.Button("Try sample photos", visible=not predictor.ct)
        notes = gr.Textbox(label="What was seen", interactive=False, lines=1, max_lines=12)
        gallery = gr.Gallery(
            label=f"Photos, and {'where the model looked' if classifies else 'what was seen'}",
            elem_classes="photos" if classifies else None,
            visible=False,
            columns=2,
            object_fit="contain",
            height="auto",
            buttons=["fullscreen"],
            interactive=False,
        )
        results: list[Any] = [gallery, notes]
        if classifies:
            scored, scores = gr.State([]), gr.Label(label="Scores", visible=False)
            results = [scored, *results, scores]
            gallery.select(show, scored, scores)
        button.click(look, files, results)
        samples.click(lambda: look([str(PHOTOS / name) for name in SAMPLES]), None, results)
    return page


def read_photos(files: Sequence[str]) -> tuple[list[Input], list[str]]:
    """Return the photos that can be decoded, and what people have to know of the others."""
    found, notes = [], []
    for file in map(Path, files[:MOST_PHOTOS]):
        try:
            check_image(file)
            found.append(Input(file.name, partial(load_rgb, file)))
        except BrokenImageError as error:
            notes.append(f"Left out: {file.name} {error}.")
    if len(files) > MOST_PHOTOS:
        notes.append(f"Only the first {MOST_PHOTOS} photos were taken.")
    if not found:
        notes.append("There is no photo to look at: drop some.")
    return found, notes


def read_pictures(
    files: Sequence[str], ct: Mapping[str, Any] | None
) -> tuple[list[Input], list[str]]:
    """Return the photos and slices of CT that can be decoded, and notes on the others.

    Args:
        files: Images, or files of DICOM or NIfTI.
        ct: How a model of CT has its slices read; None for another model.
    """
    of_scans = [file for file in files if ct or is_scan(Path(file))]
    photos = [file for file in files if file not in of_scans]
    found, notes = read_photos(photos) if photos or not files else ([], [])
    for file in of_scans:
        try:
            slices, problems = scans(Path(file), ct)
        except InputError as error:
            notes.append(f"Left out: {str(error).replace(f'{Path(file).parent}/', '')}")
            continue
        found += [item._replace(name=Path(item.name).name) for item in usable(slices)]
        notes += [f"Not as expected: {Path(p.file).name} {p.reason}." for p in problems]
    if len(found) > MOST_PHOTOS:
        notes.append(f"Only the first {MOST_PHOTOS} of {len(found)} slices were taken.")
    return found[:MOST_PHOTOS], notes
