"""The page to try a classifier of mail on: a ranked inbox, and the words that mattered."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten
from typing import NamedTuple, cast

import gradio as gr
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from nlp_transfer.emails import Skipped, iter_emails
from nlp_transfer.explanation import Word, explain, in_words
from staged_training import InputError
from transfer_app.demo.page import new_page, scores_of
from transfer_app.prediction.answers import Answer
from transfer_app.prediction.classifiers import TextClassifier
from transfer_app.prediction.inputs import Input

MOST_MAILS = 200
MOST_CHARACTERS = 20_000
FAINT = 0.05  # a word that did less than this share of what the strongest did stays unmarked
SAMPLES = (
    "Server room\nThe cooling has failed and the racks are at 38 degrees. We shut down at 40. "
    "Please call me on my mobile right away.",
    "Contract for Friday\nLegal needs your signature before noon today, or the option lapses. I "
    "have put the pages on your desk.",
    "Photos of the summer party\nHi all, the photos are on the shared drive. Have a nice weekend!",
    "Newsletter\nTen ways to tidy your desk, and what our readers say about last month's column.",
)


class Mail(NamedTuple):
    """A mail of the inbox, with what the model says of it."""

    text: str
    answer: Answer


def blocks(classifier: TextClassifier) -> gr.Blocks:
    """Return the page of a model."""
    model = classifier.pipeline.model
    tokenizer = cast(PreTrainedTokenizerBase, classifier.pipeline.tokenizer)

    def rank(pasted: str, files: list[str] | None) -> tuple[object, ...]:
        inputs, notes = read_inbox(pasted, files or [])
        return ranked(inputs, notes)

    def ranked(inputs: Sequence[Input], notes: Sequence[str]) -> tuple[object, ...]:
        found = [Mail(item.content, answer) for item, answer in classifier.predict(inputs)]
        found.sort(key=lambda mail: -mail.answer.rank)
        choices = [(in_one_line(mail), number) for number, mail in enumerate(found)]
        first = 0 if found else None
        told = [f"{len(found)} ranked, {first_of(model.config)} first.", *notes]
        inbox = gr.Radio(choices=choices, value=first, visible=bool(found))
        return found, inbox, "\n".join(told), *show(found, first)

    def show(mails: list[Mail], number: int | None) -> tuple[object, ...]:
        if number is None:
            return gr.update(visible=False), gr.update(visible=False), gr.update(visible=False)
        text, answer = mails[number]
        # What ranks the mails is explained: the label that matters, if one does.
        explained = getattr(model.config, "positive_label", None) or answer.explained
        words = explain(model, tokenizer, text, classifier.index_of(explained))
        return (
            gr.Label(scores_of(answer), visible=True),
            gr.HighlightedText(
                marked(text, words), label=spoke_for(explained, answer), visible=True
            ),
            gr.Textbox(in_words(text, words), visible=True),
        )

    page = new_page("Mail, ranked")
    with page:
        gr.Markdown("# Mail, ranked\nPaste a mail or drop files; nothing leaves this computer.")
        with gr.Row():
            pasted = gr.Textbox(
                label="A mail",
                lines=8,
                max_length=MOST_CHARACTERS,
                placeholder="Subject on the first line, then the text",
            )
            files = gr.File(
                label="Files: .eml, .mbox, .txt",
                file_count="multiple",
                file_types=[".eml", ".mbox", ".txt"],
                height=200,
            )
        with gr.Row():
            button = gr.Button("Rank", variant="primary")
            samples = gr.Button("Try sample mails")
        notes = gr.Textbox(label="What was read", interactive=False, lines=1)
        mails = gr.State([])
        inbox = gr.Radio(label="Inbox", elem_classes="inbox", visible=False)
        with gr.Row():
            scores = gr.Label(label="Scores", visible=False, min_width=220)
            with gr.Column(scale=3):
                text = gr.HighlightedText(visible=False, show_legend=True)
                summary = gr.Textbox(label="In words", visible=False, interactive=False, lines=2)
        shown = [scores, text, summary]
        button.click(rank, [pasted, files], [mails, inbox, notes, *shown])
        samples.click(
            lambda: ranked([Input(f"sample {n}", s) for n, s in enumerate(SAMPLES)], []),
            None,
            [mails, inbox, notes, *shown],
        )
        inbox.input(show, [mails, inbox], shown)
    return page


def read_inbox(pasted: str, files: Sequence[str]) -> tuple[list[Input], list[str]]:
    """Return the mails that were pasted and dropped, and notes on how they were read.

    Args:
        pasted: A text, or nothing.
        files: `.eml`, `.mbox` or `.txt`.
    """
    found = [Input("pasted", pasted)] if pasted.strip() else []
    notes = []
    for file in map(Path, files):
        if len(found) > MOST_MAILS:
            break
        try:
            for item in _mails(file):
                if isinstance(item, Skipped):
                    notes.append(f"Left out: {Path(item.input).name} {item.reason}.")
                else:
                    found.append(item)
                if len(found) > MOST_MAILS:
                    break
        except InputError as error:
            notes.append(f"Left out: {str(error).removeprefix(f'{file.parent}/')}")
    if len(found) > MOST_MAILS:
        notes.append(
            f"Only the first {MOST_MAILS} mails were taken; `nlp-transfer predict` has no end."
        )
    found = found[:MOST_MAILS]
    long = sum(len(item.content) > MOST_CHARACTERS for item in found)
    if long:
        notes.append(f"{long} mails were cut after {MOST_CHARACTERS:,} characters.")
    if not found:
        notes.append("There is no mail to rank: paste one, or drop files.")
    return [item._replace(content=item.content[:MOST_CHARACTERS]) for item in found], notes


def _mails(file: Path) -> list[Input | Skipped]:
    if file.suffix.lower() == ".txt":
        return [Input(file.name, file.read_text(encoding="utf-8", errors="replace"))]
    return [
        item if isinstance(item, Skipped) else Input(item.input, f"{item.subject}\n{item.body}")
        for _, item in zip(range(MOST_MAILS + 1), iter_emails(file), strict=False)
    ]


def in_one_line(mail: Mail) -> str:
    """Return a mail as the inbox lists it."""
    beginning = shorten(mail.text, width=100, placeholder=" …")
    return f"{'  '.join(mail.answer.cells)}:  {beginning}"


def first_of(config: PreTrainedConfig) -> str:
    """Return which mail of an inbox comes first."""
    if config.problem_type == "regression":
        return "the largest number"
    positive = getattr(config, "positive_label", None)
    return f"the most likely {positive}" if positive else "the highest score"


def spoke_for(output: str, answer: Answer) -> str:
    """Return what the marks in a text mean that explain an output of an answer."""
    if "value" in answer.fields:
        return f"What raised {output} (+) and lowered it"
    return f"What spoke for {output} (+) and against"


def marked(text: str, words: Sequence[Word]) -> list[tuple[str, str | float | None]]:
    """Return the whole text in pieces, those that mattered with their strength from -1 to 1."""
    strongest = max((abs(word.attribution) for word in words), default=0.0) or 1.0
    pieces: list[tuple[str, str | float | None]] = []
    end = 0
    for word in words:
        strength = word.attribution / strongest
        pieces.append((text[end : word.start], None))
        kept = round(strength, 2) if abs(strength) >= FAINT else None
        pieces.append((text[word.start : word.end], kept))
        end = word.end
    return [piece for piece in [*pieces, (text[end:], None)] if piece[0]]
