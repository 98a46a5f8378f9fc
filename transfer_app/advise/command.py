"""The arguments of `nlp-transfer advise`."""

import argparse
from pathlib import Path

from transfer_app.arguments import add_labelled_data
from transfer_app.kinds import are_images


def advise_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = argparse.ArgumentParser(
        "nlp-transfer advise",
        description="Measure how similar your labelled data are to what a base was pretrained on, "
        "and how many they are; say which layers to train, and how many more labels would help. "
        "Or, with --bases, rank bases by how well a head on each of them does.",
    )
    add_labelled_data(parser)
    parser.add_argument("--vectors", default="glove-6b-50d", help="word vectors, for texts")
    parser.add_argument("--backbone", default="efficientnet-lite0", help="model, for images")
    parser.add_argument(
        "--bases",
        nargs="+",
        metavar="BASE",
        help="rank these on your labels, by a cross-validated linear head on frozen features: "
        "encoders of texts (`bert`, `multilingual`, folders, names on the Hub; `none` for words "
        "alone) or models of images",
    )
    return parser


def advise(options: argparse.Namespace) -> list[str]:
    """Print advice, and return the words of the command that follows.

    Raises:
        InputError: The data cannot be read, or there is no such base.
    """
    data, images = options.data, are_images(Path(options.data))
    words = ["run", f"{'image' if images else 'text'}-classifier", "--data", data]
    words += ["--label-column", options.label_column]
    words += ["--text-columns", *options.text_columns] if options.text_columns else []
    if options.bases:
        from transfer_app.advise.bases import rank_image_bases, rank_text_bases

        if images:
            ranking = rank_image_bases(data, options.label_column, options.bases)
        else:
            columns = options.label_column, options.text_columns
            ranking = rank_text_bases(data, *columns, options.bases)
        print(ranking)
        return [*words, "--backbone" if images else "--base", ranking.trials[0].name]
    from transfer_app.advise.layers import advise_on_folder, advise_on_table

    if images:
        print(advise_on_folder(data, options.label_column, options.backbone))
    else:
        columns = options.text_columns
        print(advise_on_table(data, options.label_column, columns, options.vectors))
    return words
