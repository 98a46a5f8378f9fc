"""The interface to trained models: what they take, and what they predict."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar, cast

import torch
from transformers import Pipeline, pipeline

from staged_training.pretrained import load_whole
from staged_training.runtime import processes
from staged_training.runtime.printable import one_line
from transfer_app.prediction.answers import Prediction
from transfer_app.prediction.checks import (
    check_labels,
    check_norms,
    check_problem_type,
    check_scores,
)
from transfer_app.prediction.inputs import Input, Unread


class Predictor(ABC):
    """A trained model with what prepares its inputs.

    Args:
        model: Folder or Hub name of the model.

    Attributes:
        task: The name of the task in `transformers`.
        pipeline: The pipeline of that task.
        ct: How a model of CT has its slices read; None for another model.
        shows_progress: Whether it shows how many inputs it has done.
        rows_at_once: How many inputs it does before what it found is written, see `Parts`.
    """

    task: ClassVar[Any]
    _model: ClassVar[Any]
    _processing: ClassVar[tuple[str, Any]]
    rows_at_once: ClassVar[int]
    _pipeline: ClassVar[type[Pipeline] | None] = None  # that of `transformers` for the task

    def __init__(self, model: str) -> None:
        # Loaded one by one: `pipeline` does not say why it could not load a model.
        loaded = load_whole(self._model, model)
        if processes.count() > 1:  # a pipeline leaves it where it is then
            cast(torch.nn.Module, loaded).to(processes.own_device())
        name, kind = self._processing
        processing = {name: kind.from_pretrained(model, trust_remote_code=False)}
        self.pipeline: Pipeline = pipeline(
            self.task, loaded, pipeline_class=self._pipeline, **processing
        )
        self.shows_progress = True
        self.ct = getattr(loaded.config, "ct", None)

    @abstractmethod
    def inputs(self, sources: Sequence[str], read_texts: Callable[[str], Unread]) -> Unread:
        """Return the inputs of all sources; texts by a function that gives those of one."""

    @abstractmethod
    def predict(self, inputs: Iterable[Input]) -> Iterator[tuple[Input, Prediction]]:
        """Yield each input with its prediction, in order; a batch is held in memory."""

    def describe(self, inputs: Iterable[Input]) -> Iterator[str]:
        """Yield what people are told of inputs: lines that begin with the name of each."""
        inputs = list(inputs)
        width = max(len(one_line(item.name)) for item in inputs)
        for item, prediction in self.predict(inputs):
            for line in prediction.lines:
                yield f"{one_line(item.name).ljust(width)}  {one_line(line)}"

    def check(self) -> None:
        """Try the model on a short text or a small image, before its inputs are read.

        Raises:
            InputError: Its labels, its processing or its scores cannot be used.
            Exception: Of any kind, where its parts do not go together.
        """
        check_labels(self.pipeline)
        check_problem_type(self.pipeline)
        check_norms(self.pipeline)
        self._check_processing()
        check_scores(self.pipeline, self._sample_scores())

    @abstractmethod
    def _check_processing(self) -> None:
        """Refuse a tokenizer or an image processor that cannot be used."""

    @abstractmethod
    def _sample_scores(self) -> list[dict[str, Any]]:
        """Predict a sample; return what has a score, as the pipeline does."""
