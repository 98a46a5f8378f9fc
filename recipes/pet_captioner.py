"""Pet captioner: a pretrained image model and word vectors, and a decoder that says what it sees.

What it does:
  1. loads a pretrained image model, freezes it, and computes its features of every photo once; no
     fold, seed or decoder needs them again;
  2. on each fold, builds the vocabulary of the training captions and aligns it to word vectors
     (E_T); trains a recurrent decoder on the features (after Show and Tell, Vinyals et al. 2015),
     its word embedding frozen, then the embedding too at a smaller rate; the epoch of the highest
     CIDEr on validation is kept in each stage;
  3. with --attention, lets the decoder look at another part of the photo for every word (Show,
     Attend and Tell, Xu et al. 2015); with --fine-tune, goes on with the top layers of the image
     model;
  4. measures all of it (BLEU-4, ROUGE-L, CIDEr) beside the most common caption and the caption of
     the nearest training photo, beside the same decoder on a random embedding, which shows what the
     word vectors gave, and beside what it says without the photo;
  5. keeps the model that validation likes best, of the first fold.

What it costs: about twelve minutes on one core for 370 photos and all folds.
What it prints: the table of models, whether the word vectors paid, and where the model and the
report are. It stops before any work where the input cannot be used.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from nlp_transfer import align, open_vectors
from recipes.pet_captioner_report import Findings, print_findings, write_findings
from recipes.pet_captioner_ways import (
    BLIND,
    Captioned,
    Problem,
    baselines,
    learn,
    vocabulary,
    ways_from,
)
from staged_training.experiment.outcome import mean_rows
from staged_training.experiment.run_folder import RunFolder
from staged_training.experiment.splits import chosen_folds
from staged_training.features.reuse import features_key
from staged_training.features.store import FeatureDataset
from staged_training.recipe import RunArguments, option, parse_arguments, run_config
from staged_training.reporting.hub import push
from staged_training.runtime.processes import is_main_process
from vision_transfer.backbones import PACKAGED, load_backbone
from vision_transfer.captioning.captioner import caption_processor, image_features
from vision_transfer.captioning.metrics import require_metrics
from vision_transfer.captioning.task import read_caption_task

DATA = Path(__file__).parent / "data" / "pets"


@dataclass
class Arguments(RunArguments):
    """Arguments of the recipe; each field is a flag."""

    data: str | None = option(
        None,
        "Captions: a folder or a table (.jsonl, .csv, .parquet) with a column file_name, and "
        "one of captions, caption or text; those of Flickr8k (captions.txt or "
        "Flickr8k.token.txt) or Flickr30k (results.csv or results_20130124.token); or the "
        "JSON of COCO or of Karpathy. Without folds, or parts such as train, val and test, "
        "the photos are dealt into five folds. By default the 370 photos that come with it.",
    )
    images: str | None = option(None, "Folder of the photos, where it is not that of the captions.")
    backbone: str = option(
        "efficientnet-lite0",
        "Pretrained model: efficientnet-lite0, -lite1 or -lite2 (from packages), a folder, or"
        " a name on the Hub such as timm/resnet50.a1_in1k.",
    )
    vectors: str = option("glove-6b-50d", "Word vectors: glove-6b-50d, or a file.")
    attention: bool = option(False, "Let the decoder look at parts of the photos.")
    fine_tune: bool = option(False, "Fine-tune the top layers of the image model at the end.")
    folds: str = option(
        "all",
        "`all` for the whole protocol, or the number of the fold to test on.",
    )
    seed: int = option(0, "Random seed; each fold adds its number.")
    quick: bool = option(False, "A tenth of the epochs.")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the recipe.

    Raises:
        InputError: An argument or the data cannot be used; nothing has been written then.
    """
    arguments = parse_arguments(Arguments, argv, "pet-captioner", __doc__)
    run = RunFolder(Path(arguments.output_dir), run_config(arguments), resume=arguments.resume)
    problem = read_problem(arguments)
    task = problem.task
    folds = chosen_folds(arguments.folds, task.folds)
    coverage = align(vocabulary(task.captions), problem.vectors).coverage
    destination = arguments.destination()

    run.open(task.paths, task.captions, task.folds)
    features = features_of(problem, run.runs)
    outcomes = []
    for fold in folds:
        of_fold = baselines(task, features.columns["features"], task.split(fold))
        for number, way in enumerate(problem.ways):
            print(f"Fold {fold}: {way.name}, {way.stages[0].name}", flush=True)
            keep, seed = fold == folds[0], arguments.seed + fold
            work = partial(learn, problem, way, features, fold, seed, keep=keep)
            done = run.run_cached(f"fold-{fold}/way-{number}", work)
            of_fold += [Captioned(**item) for item in done]
        outcomes.append(of_fold)

    rows = mean_rows(outcomes)
    trained = [row for row in rows if row.trainable_parameters]
    chosen = max(trained, key=lambda row: row.metrics["validation_cider"]).name
    saved = (run.runs / f"fold-{folds[0]}").glob("way-*/models/*")
    run.publish(next(folder for folder in saved if folder.name == chosen))
    if not is_main_process():
        return
    findings = Findings(
        reference=destination.repo_id if destination else str(run.path),
        task=task,
        licensed=arguments.data is None and arguments.backbone in PACKAGED,
        backbone=arguments.backbone,
        vectors=problem.vectors.title,
        coverage=coverage,
        attention=arguments.attention,
        rows=[row for row in rows if not row.name.endswith(BLIND) or row.name == chosen + BLIND],
        scores={row.name: [_score(of_fold, row.name) for of_fold in outcomes] for row in rows},
        chosen=next(item for item in outcomes[0] if item.model == chosen),
        folds=folds,
        quick=arguments.quick,
    )
    write_findings(run, findings, run_config(arguments))
    run.close()
    print_findings(run, findings)
    if destination:
        print(f"Uploaded to {push(run.path, destination)}")


def read_problem(arguments: Arguments) -> Problem:
    """Read and check what the recipe works on."""
    require_metrics()
    task = read_caption_task(arguments.data or DATA, arguments.images)
    for item in [*task.skipped, *task.problems]:
        print(f"Left out: {item}.")
    vectors = open_vectors(arguments.vectors)
    encoder, processor = load_backbone(arguments.backbone, ["any", "other"], arguments.seed)
    return Problem(
        task=task,
        vectors=vectors,
        encoder=encoder.eval(),
        processor=processor,
        ways=ways_from(vectors.title, quick=arguments.quick, top_layers=arguments.fine_tune),
        attention=arguments.attention,
        report_to=arguments.report_to,
    )


def features_of(problem: Problem, folder: Path) -> FeatureDataset:
    """The features of all photos, kept in a folder."""
    task = problem.task
    processor = caption_processor(problem.processor, vocabulary(task.captions))
    images = task.images(range(len(task.paths)), processor.image_processor)
    cache = folder / f"{features_key(problem.encoder, images.fingerprint)}.safetensors"
    return image_features(problem.encoder, images, cache, attention=problem.attention)


def _score(outcomes: Sequence[Captioned], model: str) -> float:
    """The CIDEr of a model on a fold."""
    return next(item.metrics["cider"] for item in outcomes if item.model == model)


if __name__ == "__main__":
    main()
