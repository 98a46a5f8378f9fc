"""The page on which people try a classifier of photos: labels, scores, and where it looked."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import gradio as gr
from PIL import Image
from torchvision.transforms.functional import to_pil_image
from transformers import Pipeline

from staged_training import InputError
from staged_training.heads.familiarity import Familiarity
from staged_training.recipe import RECIPES
from transfer_app.demo_page import new_page
from transfer_app.inputs import Input, decoded, scans
from transfer_app.prediction import Answer, answers
from vision_transfer.ct.series import is_scan
from vision_transfer.explanation import grad_cam, overlay
from vision_transfer.images import BrokenImageError, check_image

MOST_PHOTOS = 32
SIDE = 360  # of what is shown, in pixels
SAMPLES = ("Persian_128.jpg", "beagle_117.jpg", "Siamese_108.jpg", "pug_142.jpg")
PHOTOS = RECIPES / "data" / "pets" / "images"


class Photo(NamedTuple):
    """A photo with what the model says of it, and both side by side."""

    name: str
    answer: Answer
    shown: Image.Image


def blocks(classifier: Pipeline, known: Familiarity | None) -> gr.Blocks:
    """The page.

    Args:
        classifier: The model, as `open_classifier` loads it.
        known: What it is familiar with, if that is known.
    """

    ct = getattr(classifier.model.config, "ct", None)

    def look(files: Sequence[str] | None) -> tuple[object, ...]:
        inputs, notes = read_pictures(files or [], ct)
        found = [
            Photo(item.name, answer, explained(classifier, item.content, answer))
            for item, answer in answers(classifier, known, inputs)
        ]
        captions = [(photo.shown, caption(photo)) for photo in found]
        gallery = gr.Gallery(captions, visible=bool(found))
        listed = "\n".join([*(caption(photo) for photo in found), *notes])
        return found, gallery, listed, gr.Label(visible=False)

    def show(photos: list[Photo], event: gr.SelectData) -> gr.Label:
        photo = photos[cast(int, event.index)]
        return gr.Label(photo.answer.scores, label=f"Scores of {photo.name}", visible=True)

    page = new_page("Photos, labelled")
    with page:
        gr.Markdown(
            "# Photos, labelled\nDrop photos; nothing leaves this computer. Beside each photo the "
            "places that spoke for its label are bright."
        )
        files = gr.File(
            label="CT: files of DICOM, or NIfTI" if ct else "Photos",
            file_count="multiple",
            file_types=None if ct else ["image", ".dcm", ".nii", ".gz"],
            height=160,
        )
        with gr.Row():
            button = gr.Button("Look", variant="primary")
            samples = gr.Button("Try sample photos", visible=not ct)
        notes = gr.Textbox(label="What was seen", interactive=False, lines=1, max_lines=12)
        photos = gr.State([])
        gallery = gr.Gallery(
            label="Photos, and where the model looked",
            elem_classes="photos",
            visible=False,
            columns=2,
            object_fit="contain",
            height="auto",
            buttons=["fullscreen"],
            interactive=False,
        )
        scores = gr.Label(label="Scores", visible=False)
        results = [photos, gallery, notes, scores]
        button.click(look, files, results)
        samples.click(lambda: look([str(PHOTOS / name) for name in SAMPLES]), None, results)
        gallery.select(show, photos, scores)
    return page


def read_photos(files: Sequence[str]) -> tuple[list[Input], list[str]]:
    """The photos that can be decoded, and what people have to know of the others."""
    found, notes = [], []
    for file in map(Path, files[:MOST_PHOTOS]):
        try:
            check_image(file)
            found.append(Input(file.name, file))
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
    """The photos and slices of CT that can be decoded, and what people have to know of the others.

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
        found += [item._replace(name=Path(item.name).name) for item in slices]
        notes += [f"Not as expected: {Path(p.file).name} {p.reason}." for p in problems]
    if len(found) > MOST_PHOTOS:
        notes.append(f"Only the first {MOST_PHOTOS} of {len(found)} slices were taken.")
    return found[:MOST_PHOTOS], notes


def explained(classifier: Pipeline, content: Any, answer: Answer) -> Image.Image:
    """A photo and, beside it, where the model saw the label; alone if the model gives no maps."""
    given = decoded(content)
    image = given if isinstance(given, Image.Image) else to_pil_image(given).convert("RGB")
    processor = cast(Any, classifier.image_processor)
    pixels = processor(given, return_tensors="pt")["pixel_values"]
    names = cast(dict[int, str], classifier.model.config.id2label)
    index = next(index for index, name in names.items() if name == answer.label)
    heat = grad_cam(classifier.model, pixels, index)
    image.thumbnail((SIDE, SIDE))
    if heat is None:
        return image
    both = Image.new("RGB", (2 * image.width, image.height))
    both.paste(image)
    both.paste(overlay(image, heat), (image.width, 0))
    return both


def caption(photo: Photo) -> str:
    """What is said of a photo."""
    return f"{photo.name}: {photo.answer.shown_label} ({photo.answer.score:.2f})"
