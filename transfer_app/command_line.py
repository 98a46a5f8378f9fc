"""The `nlp-transfer` command: arguments in, one call each."""

import argparse
import importlib.util
import logging
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wrapt import when_imported

from staged_training.recipe import RECIPES as RECIPES_FOLDER
from staged_training.recipe import check_filled
from staged_training.runtime.command import print_next, printable_errors, run_command
from staged_training.runtime.errors import InputError
from staged_training.runtime.memory import importing
from transfer_app.arguments import add_text_columns

if TYPE_CHECKING:
    from staged_training.heads.conformal import LabelSets

RECIPES = (
    "ct-inpainting",
    "email-urgency",
    "image-classifier",
    "pet-captioner",
    "pet-classifier",
    "pet-detector",
    "requests",
    "rotation-pretraining",
    "temporal-order",
    "text-classifier",
    "word-embeddings",
)

_USAGE = """\
usage: nlp-transfer COMMAND ...

Transfer learning on small labelled sets: from a pretrained base to a tuned model, in stages.

commands:
  run RECIPE             train a model by a recipe, on the data that comes with it or on yours
  advise DATA            which layers to train on your labelled texts or images, which base, and why
  predict DIR INPUT ...  classify mail, tables of texts or images, describe photos or find things
                         in them, with a model that was trained here
  demo DIR               try a trained model in a browser
  mark SOURCE            mark mail where it lies: on a server, in a Maildir, in an mbox
  watch SOURCE           who comes before a camera, with an exported classifier of photos
  serve DIR ...          trained models as a service over HTTP
  export DIR             a trained model as ONNX, for use without PyTorch
  label DATA             what to label next: in a browser, or by way of a spreadsheet
  review DATA            labels that are probably wrong, and why; how far two readers agree
  coverage DATA VECTORS  how much of your texts a set of word vectors knows, before any training
  copy RECIPE            write a recipe into this folder, to change it and run it with Python

recipes:
  ct-inpainting          an archive of CT scans without labels teaches a base for a few labels
  email-urgency          which mails are urgent: word vectors, a proxy task, an encoder
  image-classifier       your images: one label of several, several labels, or a number
  pet-captioner          what a photo shows, in a sentence: an image model, word vectors, a decoder
  pet-classifier         cats and dogs: features of a frozen base, heads on it, fine-tuning
  pet-detector           heads of pets, or boxes of yours: Faster R-CNN on a frozen base
  requests               which mails ask for something: an encoder, its head, its upper layers
  rotation-pretraining   photos without labels teach a base for a few labels: which way up they are
  temporal-order         videos without labels teach a base: are frames in order
  text-classifier        your texts: one label of several, several labels, or a number
  word-embeddings        word vectors from mails, or your texts, without labels: Word2Vec and others

`nlp-transfer COMMAND --help` says what each takes, `nlp-transfer --version` which version this is.
To begin: nlp-transfer run email-urgency
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        The exit status: 0; 2 for input that cannot be used, or a disk that cannot be written to;
        130 or 143 where it was stopped, by Ctrl-C or SIGTERM; 141 where nobody reads on.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    commands = {
        "run": _run,
        "advise": _advise,
        "predict": _predict,
        "demo": _demo,
        "mark": _mark,
        "watch": _watch,
        "serve": _serve,
        "export": _export,
        "label": _label,
        "review": _review,
        "coverage": _coverage,
        "copy": _copy,
    }
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_USAGE, end="")
        return 0
    if arguments[0] == "--version":
        print(f"nlp-transfer {version('nlp-transfer')}")
        return 0
    if arguments[0] not in commands:
        print(f"{_USAGE}\nnlp-transfer: {arguments[0]!r} is not a command.", file=sys.stderr)
        return 2
    command, given = commands[arguments[0]], arguments[1:]
    return run_command(partial(command, given), resumes=arguments[0] == "run")


def _parsed(parser: argparse.ArgumentParser, arguments: list[str]) -> argparse.Namespace:
    with printable_errors():
        options = parser.parse_args(arguments)
    check_filled({name.upper(): value for name, value in vars(options).items()})
    _without_bars()
    return options


def _without_bars() -> None:
    """Show no progress of loading and saving, which take no time here."""
    # Not every command imports it, which takes a second.
    when_imported("transformers.utils.logging")(lambda logging: logging.disable_progress_bar())


def _print_next_aside(*words: str) -> None:
    """Print the next command where standard output holds what other programs take."""
    if sys.stderr:  # None where it is closed
        print_next(*words, file=sys.stderr)


def _run(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        "nlp-transfer run",
        description="Train a model by a recipe.",
        epilog="`nlp-transfer run RECIPE --help` lists the flags of a recipe.",
    )
    parser.add_argument("recipe", choices=RECIPES)
    recipe = parser.parse_args(arguments[:1]).recipe
    load_recipe(recipe).main(arguments[1:])


def load_recipe(name: str) -> Any:
    """Return the module of a recipe, which is a script and lies in no package that is imported."""
    file = RECIPES_FOLDER / f"{name.replace('-', '_')}.py"
    spec = importlib.util.spec_from_file_location(f"recipes.{file.stem}", file)
    assert spec and spec.loader  # it is a Python file
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where the dataclass of its arguments is looked up
    spec.loader.exec_module(module)
    return module


def _copy(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        "nlp-transfer copy",
        description="Write a recipe into the current folder, as a script to change and to run: "
        "`python email_urgency.py --help`. The template of its model card comes along.",
    )
    parser.add_argument("recipe", choices=RECIPES)
    name = parser.parse_args(arguments).recipe.replace("-", "_")
    files = [Path(f"{name}.py"), Path("cards", f"{name}.md")]
    for file in files:
        if file.exists():
            raise InputError(f"{file} is there already. Move it, or copy into another folder.")
    for file in files:
        file.parent.mkdir(exist_ok=True)
        shutil.copyfile(RECIPES_FOLDER / file, file)
    print(f"Wrote {files[0]} and {files[1]}.")
    print_next("python", files[0], "--help")


def _advise(arguments: list[str]) -> None:
    from transfer_app.advise.command import advise, advise_parser

    options = _parsed(advise_parser(), arguments)
    _print_next_aside("nlp-transfer", *advise(options))


def _predict(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        "nlp-transfer predict",
        description="Predict labels or a number of texts or images with a trained model; say what "
        "photos show, or where something is in them. Each label is shown with its score. The "
        "inputs most likely to have the positive label come first, if the model has one, else "
        "those of the highest score or the largest number. Photos that are not similar enough "
        "to any that a classifier was trained on are marked `not sure: please look`. A warning "
        "says when 30 inputs or more are, as a whole, unlike what a classifier was trained on.",
    )
    parser.add_argument("model", help="folder of the model, or its name on the Hub")
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="for a model of texts: mail (.eml, .msg, .mbox, Maildir, a folder), a table (.csv, "
        ".tsv, .jsonl, .parquet, .xlsx), or - for one text per line on standard input; for a model "
        "of images: images, CT (DICOM or NIfTI) and folders of them, by series with a model of CT; "
        "for subtitles a film",
    )
    parser.add_argument(
        "--text-columns",
        nargs="+",
        metavar="COLUMN",
        help="columns of a table to read as text; by default those that the model was trained on",
    )
    _add_coverage(parser)
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument(
        "--json", action="store_true", help="one JSON object per input, in the order of the inputs"
    )
    shown.add_argument(
        "--output",
        metavar="FILE",
        help="write a table instead (.csv, .tsv, .jsonl, .parquet): a row per input in the order "
        "of the inputs, with all columns of a table that is the input; a column `problem` says "
        "what could not be read. If it is stopped, the same command goes on. Or boxes or captions "
        "of photos as COCO (.json); or the captions of a film as subtitles, WebVTT (.vtt)",
    )
    options = _parsed(parser, arguments)
    output = Path(options.output) if options.output else None
    if output:
        from staged_training.tables.writing import check_table_file

        check_table_file(output, [".json", ".vtt"])
    with _processes(options.inputs, output):
        sets = _sets(options)
        with importing():
            from transfer_app.prediction.opening import predict

        how: dict[str, Any] = {"as_json": options.json, "output": output, "sets": sets}
        predict(options.model, options.inputs, options.text_columns, **how)
    if not options.json and os.environ.get("RANK", "0") == "0":
        _print_next_aside("nlp-transfer", "demo", options.model)


@contextmanager
def _processes(inputs: Sequence[str], output: Path | None) -> Iterator[None]:
    """Share the work with the other processes that a launcher began, if it did."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield
        return
    from staged_training.runtime.processes import is_main_process, join, leave
    from staged_training.tables.writing import SUFFIXES

    if output is None or output.suffix.lower() not in SUFFIXES or "-" in inputs:
        raise InputError(
            "Several processes predict of files and write a table. Name files and a table, or "
            "start one process.",
            ["output"],
        )
    join(share_batches=False)
    if not is_main_process():
        logging.disable(logging.WARNING)  # the first process warns
    yield
    leave()


def _add_coverage(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--coverage",
        type=float,
        metavar="SHARE",
        help="give with each input the `set` of labels that cannot be excluded: of the examples of "
        "each label this share, such as 0.9, have that label in their set; an input whose set is "
        "not exactly the label that is predicted is marked `not sure: please look`",
    )


def _sets(options: argparse.Namespace) -> "LabelSets | None":
    """Return what gives inputs their sets of labels, read before PyTorch is."""
    if options.coverage is None:
        return None
    from staged_training.heads.conformal import label_sets

    return label_sets(options.model, options.coverage)


def _demo(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        "nlp-transfer demo",
        description="Try a trained model in a browser: paste or drop mail and see it ranked, with "
        "the words that mattered; or drop photos and see their labels, and where the model looked, "
        "what a captioner says of them, or what a detector finds. Everything stays on this "
        "computer.",
    )
    parser.add_argument("model", help="folder of the model, or its name on the Hub")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on; by default for this computer only",
    )
    parser.add_argument("--port", type=int, default=7860, help="port to listen on")
    parser.add_argument(
        "--name",
        help="what browsers call it, if a server before it, such as one with a login, has another "
        "name; requests under other names are refused",
    )
    _add_coverage(parser)
    options = _parsed(parser, arguments)
    sets = _sets(options)
    from transfer_app.demo.server import serve

    serve(options.model, options.host, options.port, options.name, sets)


def _mark(arguments: list[str]) -> None:
    from transfer_app.inbox.command import mark, new_parser

    options = _parsed(new_parser(), arguments)
    mark(options)
    if options.once:
        tries = ("--once", "--dry-run")
        _print_next_aside("nlp-transfer", "mark", *(one for one in arguments if one not in tries))


def _watch(arguments: list[str]) -> None:
    from transfer_app.camera.command import watch

    watch(arguments)


def _serve(arguments: list[str]) -> None:
    from transfer_app.service.command import new_parser, serve

    serve(_parsed(new_parser(), arguments))


def _export(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        "nlp-transfer export",
        description="Write a trained classifier or detector in a format that runs without "
        "PyTorch, check that it gives the same, and say how fast both are. The file takes what the "
        "tokenizer or the processor of the model makes of texts or images, and gives `logits`; of "
        "a detector it takes one photo at a time, and gives `pred_boxes`, too.",
    )
    parser.add_argument("model", help="folder of the model, or its name on the Hub")
    parser.add_argument("--to", choices=["onnx"], default="onnx", help="the format")
    parser.add_argument("--output", metavar="FILE", help="by default model.onnx in the folder")
    options = _parsed(parser, arguments)
    from transfer_app.export import export

    print(export(options.model, options.output))
    print_next("nlp-transfer", "demo", options.model)


def _label(arguments: list[str]) -> None:
    from transfer_app.label.command import label, label_parser

    label(_parsed(label_parser(), arguments))


def _review(arguments: list[str]) -> None:
    from transfer_app.review.command import next_words, review, review_parser

    options = _parsed(review_parser(), arguments)
    review(options)
    print_next("nlp-transfer", *next_words(options, arguments))


def _coverage(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        "nlp-transfer coverage",
        description="How much of your texts a set of word vectors knows, and what it misses most.",
    )
    parser.add_argument("data", help="mail or a table of texts")
    parser.add_argument("vectors", help="glove-6b-50d, or a file of word vectors")
    add_text_columns(parser)
    options = _parsed(parser, arguments)
    from nlp_transfer import align, build_vocabulary, open_vectors
    from nlp_transfer.emails import read_texts

    texts = read_texts(options.data, options.text_columns).dataset["text"]
    vectors = open_vectors(options.vectors)
    print(align(build_vocabulary(texts, min_frequency=1), vectors).coverage)
    learn = "nlp-transfer", "run", "email-urgency", "--data", options.data
    print_next(*learn, "--vectors", options.vectors)


if __name__ == "__main__":
    sys.exit(main())
