"""Candidates for a captioner: a pretrained image model, word vectors or none, and a decoder."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset
from transformers import (
    BaseImageProcessor,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    VisionTextDualEncoderProcessor,
)

from staged_training.experiment.candidate import MODELS, Candidate, Round
from staged_training.experiment.outcome import Outcome
from staged_training.experiment.splits import Indices, Split
from staged_training.experiment.tracking import end_tracking
from staged_training.features.store import FeatureDataset
from staged_training.stages import Stage, StageResult
from vision_transfer import candidates
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

# The decoder, its learning rates, epochs and search had the best CIDEr on validation.
FROZEN = Stage("frozen", train=BESIDE_EMBEDDING, epochs=40, learning_rate=5e-3)
TUNED = Stage("fine-tuned", train="head", epochs=10, learning_rate=1e-3)
FROM_THE_START = replace(FROZEN, name="trained from the start", train="head")
TOP_LAYERS = replace(candidates.TOP_LAYERS, name="with the top layers of the encoder")
SEARCH = {"num_beams": 5, "no_repeat_ngram_size": 3}
MAX_WORDS = 24  # of a generated caption, or one more than the longest training caption has

MOST_COMMON, NEAREST = "the most common caption", "the caption of the nearest photo"
RANDOM = "random embedding"
NO_IMAGE = ", image left out"


@dataclass(frozen=True)
class WordEmbedding:
    """The vocabulary of a decoder, and what its word embedding begins with.

    Attributes:
        name: The name of the embedding, with which the names of rows begin.
        vocabulary: Builds a tokenizer from the captions of each training image.
        matrix: Returns the embedding of a tokenizer, `float32 [len(tokenizer), width]`, for a
            random seed.
    """

    name: str
    vocabulary: Callable[[Sequence[Sequence[str]]], PreTrainedTokenizerFast]
    matrix: Callable[[PreTrainedTokenizerFast, int], NDArray[np.float32]]


class Phase(NamedTuple):
    """Stages that train on the same inputs: stored features, or the images themselves.

    Attributes:
        stages: What is trained, in order.
        inputs: Those of the training, validation and test images.
        options: Further arguments of `caption_trainer`.
    """

    stages: list[Stage]
    inputs: Sequence[Dataset[Any]]
    options: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class CaptionerCandidate(Candidate):
    """A decoder of captions on a pretrained image model.

    Attributes:
        name: The name of the candidate.
        task: The images with their captions.
        encoder: The pretrained image model.
        image_processor: Its preprocessing.
        features: The features of all images, see `image_features`.
        embedding: The word embedding of the decoder.
        stages: The stages of the decoder, on the features; each ends with a row of the table.
        top_layers: The stages that follow on the images.
        pretrained: Selects the layers that count as pretrained.
        attention: Whether the decoder attends to the cells of the last feature map.
        report_to: Where training is watched, as for `TrainingArguments`.
    """

    name: str
    task: CaptionTask
    encoder: PreTrainedModel
    image_processor: BaseImageProcessor
    features: FeatureDataset
    embedding: WordEmbedding
    stages: list[Stage] = field(default_factory=[FROZEN, TUNED].copy)
    top_layers: list[Stage] = field(default_factory=list)
    pretrained: str = PRETRAINED
    attention: bool = False
    report_to: str = "none"

    def row_names(self) -> list[str]:
        """Return a name for each stage."""
        return list(map(self._row_name, [*self.stages, *self.top_layers]))

    def quick(self) -> Self:
        """Return the same with a tenth of the epochs."""
        stages = [replace(stage, epochs=max(1, stage.epochs // 10)) for stage in self.stages]
        top_layers = [replace(stage, epochs=1) for stage in self.top_layers]
        return replace(self, stages=stages, top_layers=top_layers)

    def evaluate(self, round_: Round, folder: Path) -> list[Outcome]:
        """Train all stages, score the model after each with and without images, and save it."""
        task, split, seed = self.task, round_.split, round_.seed + round_.fold
        model, processor = self._new_model(split.train, seed)
        tokenizer = processor.tokenizer
        results: list[StageResult] = []
        outcomes: list[Outcome] = []
        for stages, inputs, options in self._phases(split, processor):
            train, validation, test = map(Part, inputs, map(task.captions_of, split))
            trainer = caption_trainer(
                model,
                tokenizer,
                stages,
                train,
                validation,
                folder,
                seed,
                report_to=self.report_to,
                **options,
            )
            trainer.train(resume_from_checkpoint=trainer.begun)
            for stage, result in zip(stages, trainer.results, strict=True):
                results.append(result)
                trainer.load_stage(stage.name)
                row = self._row_name(stage)
                about_training = {
                    "seconds": sum(done.seconds for done in results),
                    "trainable_parameters": result.trainable_parameters,
                    "stages": [asdict(done) for done in results],
                    "log": trainer.state.log_history,
                }
                captions = [
                    captions_of(model, part.images, tokenizer) for part in (validation, test)
                ]
                outcomes.append(_outcome(row, task, split, captions, **about_training))
                outcomes.append(self._score_without_image(model, tokenizer, row, split))
                save_captioner(model, processor, folder / MODELS / row)
        end_tracking(self.report_to)
        return outcomes

    def _row_name(self, stage: Stage) -> str:
        return f"{self.embedding.name}, {stage.name}"

    def _new_model(
        self, train: Indices, seed: int
    ) -> tuple[CaptionerForImageTextToText, VisionTextDualEncoderProcessor]:
        """Return a captioner with a new decoder, and its processor."""
        captions = self.task.captions_of(train)
        tokenizer = self.embedding.vocabulary(captions)
        matrix = self.embedding.matrix(tokenizer, seed)
        model = new_captioner(self.encoder, tokenizer, matrix, seed, attention=self.attention)
        longest = max(len(caption.split()) for of_image in captions for caption in of_image)
        set_generation(model, max(MAX_WORDS, longest + 1), **SEARCH)
        return model, caption_processor(self.image_processor, tokenizer)

    def _phases(self, split: Split, processor: VisionTextDualEncoderProcessor) -> Iterator[Phase]:
        """Yield the stages on stored features, then those on images."""
        features = [self.features.rows(rows) for rows in split]
        yield Phase(self.stages, features, {"pretrained": self.pretrained})
        if self.top_layers:
            images = [self.task.images(rows, processor.image_processor) for rows in split]
            yield Phase(self.top_layers, images, {"pretrained": "all", "reuse_features": True})

    def _score_without_image(
        self,
        model: CaptionerForImageTextToText,
        tokenizer: PreTrainedTokenizerFast,
        row: str,
        split: Split,
    ) -> Outcome:
        """Score the caption of zeros in place of features, for all images."""
        zeros = FeatureDataset({"features": torch.zeros_like(self.features[0]["features"])[None]})
        caption = captions_of(model, zeros, tokenizer)
        captions = [caption * len(rows) for rows in (split.validation, split.test)]
        return _outcome(row + NO_IMAGE, self.task, split, captions, seconds=0.0)


def caption_baselines(task: CaptionTask, features: torch.Tensor, round_: Round) -> list[Outcome]:
    """Score the most common training caption, and the caption of the nearest training image.

    Args:
        task: The images with their captions.
        features: The features of all images, `[images, ...]`.
        round_: The rows to train, validate and test on.
    """
    split = round_.split
    train, parts = task.captions_of(split.train), (split.validation, split.test)

    def most_common() -> list[list[str]]:
        caption = most_common_caption(train)
        return [[caption] * len(rows) for rows in parts]

    def nearest() -> list[list[str]]:
        return [nearest_captions(features[rows], features[split.train], train) for rows in parts]

    outcomes = []
    for name, predict in {MOST_COMMON: most_common, NEAREST: nearest}.items():
        start = time.perf_counter()
        captions = predict()
        seconds = time.perf_counter() - start
        outcomes.append(_outcome(name, task, split, captions, seconds=seconds))
    return outcomes


def _outcome(
    name: str, task: CaptionTask, split: Split, captions: Sequence[list[str]], **about: Any
) -> Outcome:
    """Score captions of the validation and the test images."""
    validation, test = (
        caption_scores(texts, task.captions_of(rows))
        for texts, rows in zip(captions, split[1:], strict=True)
    )
    return Outcome(name, test, validation, [], [], predictions=captions[1], **about)
