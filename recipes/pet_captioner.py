"""Pet captioner: from a pretrained image model and word vectors to captions, in stages.

What it does:
  1. freezes a pretrained image model and computes its features of every photo once, for all folds
     and models;
  2. on each fold, builds the vocabulary of the training captions, aligns it to word vectors (E_T)
     and trains a recurrent decoder on the features (after Show and Tell, Vinyals et al. 2015), with
     a frozen word embedding first, then fine-tuning it at a smaller rate; in each stage the epoch
     with the best CIDEr on validation is kept;
  3. with --attention, lets the decoder attend to another part of the photo for every word (Show,
     Attend and Tell, Xu et al. 2015); with --fine-tune, goes on with the top layers of the image
     model;
  4. measures BLEU-4, ROUGE-L and CIDEr, beside those of the most common caption, of the caption of
     the nearest training photo, of the same decoder on a random embedding, which shows what the
     word vectors gained, and of the model without the photo;
  5. keeps the model that validation chose, of the first fold.

What it costs: about twelve minutes on one core for 370 photos and all folds.
What it prints: the table of models, whether the word vectors paid, and where the model and the
report are. It stops before any work where the input cannot be used.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from staged_training.data_checks import check_captions
from staged_training.recipe import (
    RECIPES,
    RunArguments,
    option,
    parse_arguments,
    run_script,
)
from staged_training.runtime.command import print_next
from staged_training.runtime.files import existing_path

DATA = RECIPES / "data" / "pets"
CARD = Path(__file__).parent / "cards" / "pet_captioner.md"


@dataclass
class Arguments(RunArguments):
    """Arguments of the recipe; each field is a flag."""

    data: str | None = option(
        None,
        "Captions: a folder or a table (.jsonl, .csv, .parquet) with the columns file_name and "
        "captions, caption or text; those of Flickr8k (captions.txt, Flickr8k.token.txt) or "
        "Flickr30k (results.csv, results_20130124.token); or the JSON of COCO or of Karpathy. "
        "Without folds, or parts such as train, val and test, the photos are dealt into five folds."
        " By default the 370 photos that come with it.",
    )
    images: str | None = option(None, "Folder of the photos, if it is not that of the captions.")
    backbone: str = option(
        "efficientnet-lite0",
        "Pretrained model: efficientnet-lite0, -lite1 or -lite2 (from packages), a folder, or a "
        "name on the Hub such as timm/resnet50.a1_in1k.",
    )
    vectors: str = option("glove-6b-50d", "Word vectors: glove-6b-50d, or a file.")
    attention: bool = option(False, "Let the decoder attend to parts of the photos.")
    fine_tune: bool = option(False, "Fine-tune the top layers of the image model at the end.")
    folds: str = option("all", "`all`, or the number of the fold to test on.")
    seed: int = option(0, "Random seed; each fold adds its number.")
    quick: bool = option(False, "A tenth of the epochs.")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the recipe.

    Raises:
        InputError: An argument or the data cannot be used; nothing has been written then.
    """
    arguments = parse_arguments(Arguments, argv, "pet-captioner", __doc__)
    check_captions(arguments.data)
    existing_path(arguments.images or DATA)

    # These imports take seconds, so the arguments are checked first.
    from nlp_transfer.alignment import align
    from nlp_transfer.captions import caption_embedding, caption_vocabulary
    from nlp_transfer.word_vectors import open_vectors
    from staged_training.experiment.cross_validation import cross_validate
    from staged_training.experiment.run_folder import start_run
    from staged_training.experiment.splits import chosen_folds
    from staged_training.runtime.printable import one_line
    from staged_training.runtime.processes import is_main_process
    from vision_transfer.backbones import PACKAGED, load_backbone
    from vision_transfer.captioning.candidates import (
        FROM_THE_START,
        RANDOM,
        TOP_LAYERS,
        CaptionerCandidate,
        WordEmbedding,
        caption_baselines,
    )
    from vision_transfer.captioning.captioner import image_features
    from vision_transfer.captioning.metrics import require_metrics
    from vision_transfer.captioning.report import publish_captioner
    from vision_transfer.captioning.task import read_caption_task

    with start_run(arguments, "pet-captioner") as run:
        require_metrics()
        task = read_caption_task(arguments.data or DATA, arguments.images)
        for item in [*task.skipped, *task.problems]:
            print(one_line(f"Left out: {item}."))
        vectors = open_vectors(arguments.vectors)
        encoder, processor = load_backbone(arguments.backbone, ["any", "other"], arguments.seed)
        encoder.eval()
        folds = chosen_folds(arguments.folds, task.folds)
        coverage = align(caption_vocabulary(task.captions), vectors).coverage

        run.open(task.paths, task.contents)
        attention = arguments.attention
        features = image_features(encoder, processor, task, run.runs, attention=attention)
        embed = partial(caption_embedding, vectors)
        on_vectors = CaptionerCandidate(
            name=vectors.title,
            task=task,
            encoder=encoder,
            image_processor=processor,
            features=features,
            embedding=WordEmbedding(vectors.title, caption_vocabulary, embed),
            attention=attention,
            report_to=arguments.report_to,
        )
        random = WordEmbedding(RANDOM, caption_vocabulary, partial(embed, random=True))
        on_random = replace(on_vectors, name=RANDOM, embedding=random)
        at_once = replace(
            on_random,
            name=f"{RANDOM} without a frozen stage",
            stages=[FROM_THE_START],
            pretrained="backbone",
        )
        if arguments.fine_tune:
            on_vectors = replace(on_vectors, top_layers=[TOP_LAYERS])
        candidates = [on_vectors, on_random, at_once]
        if arguments.quick:
            candidates = [candidate.quick() for candidate in candidates]
        baselines = partial(caption_baselines, task, features.columns["features"])
        seeds = [arguments.seed]
        result = cross_validate(run, task, candidates, "cider", folds, seeds, baselines)
        run.publish(result.chosen_model)
        if not is_main_process():
            return
        publish_captioner(
            run,
            "Pet captioner",
            on_vectors,
            result,
            CARD,
            backbone=arguments.backbone,
            known_words=coverage.types,
            dataset="Pets, few labels",
            licensed=arguments.data is None and arguments.backbone in PACKAGED,
        )
        print_next("nlp-transfer", "predict", run.path, "YOUR_PHOTOS")


if __name__ == "__main__":
    sys.exit(run_script(main))
