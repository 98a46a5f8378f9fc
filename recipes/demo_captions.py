"""The page on which people try a captioner: photos, and what it says of them."""

from collections.abc import Sequence

import gradio as gr
from transformers import Pipeline

from recipes.caption_prediction import captions
from recipes.demo import KEPT
from recipes.demo_images import PHOTOS, SAMPLES, SIDE, read_photos
from vision_transfer.images import load_rgb


def blocks(captioner: Pipeline) -> gr.Blocks:
    """The page.

    Args:
        captioner: The model, as `open_captioner` loads it.
    """

    def look(files: Sequence[str] | None) -> tuple[object, ...]:
        inputs, notes = read_photos(files or [])
        shown = []
        for item, caption in captions(captioner, inputs):
            image = load_rgb(item.content)
            image.thumbnail((SIDE, SIDE))
            shown.append((image, caption))
            notes.append(f"{item.name}: {caption}")
        return gr.Gallery(shown, visible=bool(shown)), "\n".join(notes)

    with gr.Blocks(title="Photos, described", analytics_enabled=False, delete_cache=KEPT) as page:
        gr.Markdown(
            "# Photos, described\nDrop photos; nothing leaves this computer. It says what each "
            "shows, in the words that it learnt."
        )
        files = gr.File(label="Photos", file_count="multiple", file_types=["image"], height=160)
        with gr.Row():
            button = gr.Button("Look", variant="primary")
            samples = gr.Button("Try sample photos")
        notes = gr.Textbox(label="What was seen", interactive=False, lines=1, max_lines=12)
        gallery = gr.Gallery(
            label="Photos, and what is said of them",
            visible=False,
            columns=2,
            object_fit="contain",
            height="auto",
            buttons=["fullscreen"],
            interactive=False,
        )
        button.click(look, files, [gallery, notes])
        samples.click(
            lambda: look([str(PHOTOS / name) for name in SAMPLES]), None, [gallery, notes]
        )
    return page
