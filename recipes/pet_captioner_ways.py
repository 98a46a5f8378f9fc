"""The ways to a captioner: what its word embedding begins as, and what is trained when."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import BaseImageProcessor, PreTrainedModel, PreTrainedTokenizerFast, set_seed

from nlp_transfer import align, build_vocabulary
from nlp_transfer.alignment import random_like
from nlp_transfer.vocabulary import add_bounds
from nlp_transfer.word_vectors import WordVectors
from nlp_transfer.word_vectors.base import Matrix
from recipes import pet_classifier_ways
from staged_training import Stage, StageResult
from staged_training.experiment.outcome import Outcome
from staged_training.experiment.splits import Split
from staged_training.experiment.tracking import end_tracking
from staged_training.features.store import FeatureDataset
from vision_transfer.captioning.captioner import (
    caption_processor,
    captions_of,
    new_captioner,
    save_captioner,
    set_generation,
)
from vision_transfer.captioning.metrics import (
    caption_scores,
    most_common_caption,
    nearest_captions,
)
from vision_transfer.captioning.modeling_captioner import CaptionerForImageTextToText
from vision_transfer.captioning.task import CaptionTask
from vision_transfer.captioning.training import BESIDE_EMBEDDING, PRETRAINED, Part, caption_trainer

# The decoder, its rate and epochs, and how it searches are the best of those tried, by CIDEr on
# validation.
FROZEN = Stage("frozen", train=BESIDE_EMBEDDING, epochs=40, learning_rate=5e-3)
TUNED = Stage("fine-tuned", train="head", epochs=10, learning_rate=1e-3)
FROM_THE_START = replace(FROZEN, name="trained from the start", train="head")
TOP_LAYERS = replace(pet_classifier_ways.TOP_LAYERS, name="with the top layers of the encoder")
SEARCH = {"num_beams": 5, "no_repeat_ngram_size": 3}
LONGEST = 24  # words that may be said; more where the captions of training have more

MOST_COMMON, NEAREST = "the most common caption", "the caption of the nearest photo"
BLIND = ", image left out"


@dataclass(frozen=True)
class Way:
    """A way to a captioner.

    Attributes:
        name: What its embedding begins as.
        vectors: Whether it begins as word vectors, or as random numbers like them.
        stages: What is trained; after each stage the model is a row of the table.
        top_layers: The stages that follow on the images themselves.
        pretrained: Selects what counts as trained before.
    """

    name: str
    vectors: bool
    stages: list[Stage]
    pretrained: str = PRETRAINED
    top_layers: list[Stage] = field(default_factory=list)


@dataclass(frozen=True)
class Problem:
    """What was read and checked before any work began.

    Attributes:
        task: The images with their captions.
        vectors: The word vectors.
        encoder: The pretrained image model.
        processor: The preprocessing of its pretraining.
        ways: The ways to a model that are tried.
        attention: Whether the decoder looks at the cells of the last map.
        report_to: Where training is to be watched, as for `TrainingArguments`.
    """

    task: CaptionTask
    vectors: WordVectors
    encoder: PreTrainedModel
    processor: BaseImageProcessor
    ways: list[Way]
    attention: bool
    report_to: str


@dataclass(frozen=True)
class Captioned(Outcome):
    """What a captioner scored on one split.

    Attributes:
        captions: What it said of each test image.
    """

    captions: list[str] = field(default_factory=list)


def ways_from(title: str, *, quick: bool, top_layers: bool) -> list[Way]:
    """The way from word vectors of this title, and its controls."""
    ways = [
        Way(title, True, [FROZEN, TUNED], top_layers=[TOP_LAYERS] if top_layers else []),
        Way("random embedding", False, [FROZEN, TUNED]),
        Way("random embedding", False, [FROM_THE_START], pretrained="backbone"),
    ]
    return [_shorter(way) for way in ways] if quick else ways


def _shorter(way: Way) -> Way:
    """The same with a few epochs in each stage."""
    stages = [replace(stage, epochs=max(1, stage.epochs // 10)) for stage in way.stages]
    return replace(way, stages=stages, top_layers=[replace(s, epochs=1) for s in way.top_layers])


def baselines(task: CaptionTask, features: torch.Tensor, split: Split) -> list[Captioned]:
    """What needs no training: the most common caption, and that of the nearest training image.

    Args:
        task: The images with their captions.
        features: Of all images.
        split: The images of the fold.
    """
    train = task.captions_of(split.train)
    common = most_common_caption(train)
    outcomes = []
    for name in (MOST_COMMON, NEAREST):
        start = time.perf_counter()
        said = [
            [common] * len(rows)
            if name == MOST_COMMON
            else nearest_captions(features[rows], features[split.train], train)
            for rows in (split.validation, split.test)
        ]
        outcomes.append(_outcome(name, task, split, said, seconds=time.perf_counter() - start))
    return outcomes


def learn(
    problem: Problem,
    way: Way,
    features: FeatureDataset,
    fold: int,
    seed: int,
    folder: Path,
    *,
    keep: bool,
) -> list[dict[str, Any]]:
    """Train on one fold's training part; what came of each stage, as dictionaries.

    Args:
        problem: The problem.
        way: The way to the model.
        features: Of all images.
        fold: The fold to test on.
        seed: Of all that is random.
        folder: For checkpoints.
        keep: Save the model after each stage in `folder/models`.
    """
    task, split = problem.task, problem.task.split(fold)
    captions = task.captions_of(split.train)
    tokenizer = vocabulary(captions)
    model = new_model(problem, way, tokenizer, seed)
    longest = max(len(caption.split()) for of_image in captions for caption in of_image)
    set_generation(model, max(LONGEST, longest + 1), **SEARCH)
    processor = caption_processor(problem.processor, tokenizer)
    rounds: list[tuple[list[Stage], Sequence[Dataset[Any]], dict[str, Any]]] = [
        (way.stages, [features.rows(rows) for rows in split], {"pretrained": way.pretrained})
    ]
    if way.top_layers:
        photos = [task.images(rows, processor.image_processor) for rows in split]
        rounds.append((way.top_layers, photos, {"pretrained": "all", "reuse_features": True}))
    nothing = FeatureDataset({"features": torch.zeros_like(features[0]["features"])[None]})
    outcomes: list[Captioned] = []
    results: list[StageResult] = []
    for stages, images, options in rounds:
        train, validation, test = map(Part, images, map(task.captions_of, split))
        options["report_to"] = problem.report_to
        trainer = caption_trainer(
            model, tokenizer, stages, train, validation, folder, seed, **options
        )
        trainer.train(resume_from_checkpoint=trainer.begun)
        for result in trainer.results:
            results.append(result)
            trainer.load_stage(result.name)
            about = {
                "seconds": sum(item.seconds for item in results),
                "trainable_parameters": result.trainable_parameters,
                "stages": [asdict(item) for item in results],
                "log": trainer.state.log_history,
            }
            name = f"{way.name}, {result.name}"
            said = [captions_of(model, part.images, tokenizer) for part in (validation, test)]
            outcomes.append(_outcome(name, task, split, said, **about))
            blind = captions_of(model, nothing, tokenizer)
            said = [blind * len(rows) for rows in split[1:]]
            outcomes.append(_outcome(name + BLIND, task, split, said, seconds=0.0))
            if keep:
                save_captioner(model, processor, folder / "models" / name)
    end_tracking(problem.report_to)
    return [asdict(item) for item in outcomes]


def vocabulary(captions: Sequence[Sequence[str]]) -> PreTrainedTokenizerFast:
    """The task vocabulary: the words that occur twice or more, and tokens that bound a caption."""
    tokenizer = build_vocabulary(caption for of_image in captions for caption in of_image)
    add_bounds(tokenizer)
    return tokenizer


def embedding(
    vectors: WordVectors, tokenizer: PreTrainedTokenizerFast, seed: int, *, random: bool
) -> Matrix:
    """E_T, or for a control random numbers like it."""
    set_seed(seed)
    matrix = align(tokenizer, vectors).matrix
    return random_like(matrix, tokenizer.pad_token_id) if random else matrix


def new_model(
    problem: Problem, way: Way, tokenizer: PreTrainedTokenizerFast, seed: int
) -> CaptionerForImageTextToText:
    """A captioner whose decoder is not trained yet."""
    matrix = embedding(problem.vectors, tokenizer, seed, random=not way.vectors)
    return new_captioner(problem.encoder, tokenizer, matrix, seed, attention=problem.attention)


def _outcome(
    name: str, task: CaptionTask, split: Split, said: Sequence[list[str]], **about: Any
) -> Captioned:
    """Score what was said of the validation and of the test images."""
    validation, test = (
        caption_scores(texts, task.captions_of(rows))
        for texts, rows in zip(said, split[1:], strict=True)
    )
    return Captioned(
        model=name,
        metrics=test,
        validation=validation,
        probabilities=[],
        decision_bias=0.0,
        captions=said[1],
        **about,
    )
