"""The pages on which people try a captioner or a detector: photos, and what it sees in them."""

from collections.abc import Callable, Iterator, Sequence

import gradio as gr
from PIL import Image, ImageDraw
from transformers import Pipeline

from transfer_app.caption_prediction import captions
from transfer_app.demo_images import PHOTOS, SAMPLES, SIDE, read_photos
from transfer_app.demo_page import new_page
from transfer_app.detection_prediction import detections, line_of
from transfer_app.inputs import Input
from vision_transfer.images import load_rgb

Seen = Callable[[Sequence[Input]], Iterator[tuple[Input, Image.Image, str]]]
"""What makes of photos their names, pictures to show, and words."""


def captioner_blocks(captioner: Pipeline) -> gr.Blocks:
    """The page of a captioner, as `open_captioner` loads it."""

    def seen(inputs: Sequence[Input]) -> Iterator[tuple[Input, Image.Image, str]]:
        for item, caption in captions(captioner, inputs):
            yield item, load_rgb(item.content), caption

    return _blocks(
        "Photos, described", "It says what each shows, in the words that it learnt.", seen
    )


def detector_blocks(detector: Pipeline) -> gr.Blocks:
    """The page of a detector, as `open_detector` loads it."""

    def seen(inputs: Sequence[Input]) -> Iterator[tuple[Input, Image.Image, str]]:
        for item, boxes in detections(detector, inputs):
            image = load_rgb(item.content)
            draw = ImageDraw.Draw(image)
            for box in boxes:
                corners = [box["box"][side] for side in ("xmin", "ymin", "xmax", "ymax")]
                draw.rectangle(corners, outline="red", width=max(2, min(image.size) // 100))
            yield item, image, ", ".join(map(line_of, boxes)) or "nothing"

    return _blocks("Photos, searched", "It marks what it finds.", seen)


def _blocks(title: str, does: str, seen: Seen) -> gr.Blocks:
    def look(files: Sequence[str] | None) -> tuple[object, ...]:
        inputs, notes = read_photos(files or [])
        shown = []
        for item, image, words in seen(inputs):
            image.thumbnail((SIDE, SIDE))
            shown.append((image, words))
            notes.append(f"{item.name}: {words}")
        return gr.Gallery(shown, visible=bool(shown)), "\n".join(notes)

    page = new_page(title)
    with page:
        gr.Markdown(f"# {title}\nDrop photos; nothing leaves this computer. {does}")
        files = gr.File(label="Photos", file_count="multiple", file_types=["image"], height=160)
        with gr.Row():
            button = gr.Button("Look", variant="primary")
            samples = gr.Button("Try sample photos")
        notes = gr.Textbox(label="What was seen", interactive=False, lines=1, max_lines=12)
        gallery = gr.Gallery(
            label="Photos, and what was seen",
            visible=False,
            columns=2,
            object_fit="contain",
            height="auto",
            buttons=["fullscreen"],
            interactive=False,
        )
        button.click(look, files, [gallery, notes])
        sample_files = [str(PHOTOS / name) for name in SAMPLES]
        samples.click(lambda: look(sample_files), None, [gallery, notes])
    return page
