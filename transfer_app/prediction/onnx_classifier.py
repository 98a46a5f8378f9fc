"""A classifier as `nlp-transfer export` wrote it: in a second, and without PyTorch."""

import json
import logging
import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from staged_training.heads.conformal import LabelSets
from staged_training.heads.drift import Watch
from staged_training.heads.familiarity import FILE_NAME, load_familiarity
from staged_training.runtime.errors import InputError, first_line
from staged_training.runtime.files import file_of_model
from staged_training.runtime.onnx import onnx_runtime
from staged_training.runtime.printable import shell_path
from staged_training.runtime.seal import check_seal, digest
from staged_training.tables.words import long_words
from transfer_app.prediction.answers import (
    Answer,
    Outputs,
    answer_of,
    checked,
    scores_of_logits,
    with_set,
)
from transfer_app.prediction.inputs import Input

if TYPE_CHECKING:
    from transfer_app.prediction.classifiers import Classifier
    from transfer_app.prediction.predictor import Predictor

ONNX, WEIGHTS = "model.onnx", "model.safetensors"

_logger = logging.getLogger(__name__)
_Tensors = dict[str, NDArray[Any]]


def open_classifier(model: str, threads: int | None = None) -> "OnnxClassifier | Classifier":
    """Open a classifier for many inputs: by ONNX where it was exported, else by PyTorch.

    Args:
        model: Folder or Hub name of the model.
        threads: How many threads compute an input by ONNX; by default all cores do.

    Raises:
        InputError: There is no model that can be loaded and works, or it is no classifier.
    """
    opened = open_fast(model, threads)
    if not hasattr(opened, "outputs"):
        raise InputError(f"{model}: is no classifier. Give one.")
    return cast("OnnxClassifier | Classifier", opened)


def open_fast(model: str, threads: int | None = None) -> "OnnxClassifier | Predictor":
    """Open a model of any kind for many inputs, as `open_classifier` does a classifier.

    Raises:
        InputError: There is no model that can be loaded and works.
    """
    try:
        return OnnxClassifier(model, threads)
    except InputError as error:
        reason = str(error)
    if find_spec("torch") is None:  # as where models are only served
        raise InputError(reason)
    from transfer_app.prediction.opening import open_predictor

    predictor = open_predictor(model)
    if hasattr(predictor, "outputs") and not predictor.ct:  # others never run by ONNX
        _logger.warning("PyTorch runs the model, which takes more time and memory: %s", reason)
    return predictor


class OnnxClassifier:
    """A classifier, or a model that predicts a number, that ONNX Runtime runs.

    It answers as the predictor of `open_predictor` does: the outputs of the file were compared with
    those of the model when it was written, and inputs are prepared as they were then. Each input is
    computed on its own: padding costs more than a batch saves.

    Args:
        model: Folder of the model, with `model.onnx` in it.
        threads: How many threads compute an input; by default all cores do.

    Attributes:
        task: The name of the task in `transformers`.
        outputs: What its outputs are.
        sets: What gives each input the set of labels that cannot be excluded, if that was asked.
        watch: What compares the inputs as a whole with the training data, if that was asked.

    Raises:
        InputError: The file is not there, of other weights, damaged, or does not say how its inputs
            are prepared; or they are slices of CT, which are windowed first.
    """

    def __init__(self, model: str, threads: int | None = None) -> None:
        self._folder = Path(model)
        self._session = self._opened(threads)
        stored = self._session.get_modelmeta().custom_metadata_map
        try:
            facts = {name: json.loads(text) for name, text in stored.items()}
            self.task: str = facts["task"]
            problem_type, positive = facts["problem_type"], facts.get("positive_label")
            self.outputs = Outputs(facts["labels"], problem_type, positive)
        except (KeyError, ValueError):
            self._refuse("was written by an older version")
        if facts.get("ct"):
            raise InputError(f"{model}: is a model of CT. Use it by: nlp-transfer predict.")
        sums, weights = check_seal(model), self._folder / WEIGHTS
        if weights.exists() and (sums.get(WEIGHTS) or digest(weights)) != facts.get("weights"):
            self._refuse("is not of these weights")
        self._prepared = self._preparation(facts)
        known = file_of_model(model, FILE_NAME)
        self._known = load_familiarity(known) if known else None
        names = [output.name for output in self._session.get_outputs()]
        if self._known and "features" not in names:
            self._refuse("was written before the model knew its training data")
        self.sets: LabelSets | None = None
        self.watch: Watch | None = None
        self._names = names[: 2 if self._known else 1]

    def predict(self, inputs: Iterable[Input]) -> Iterator[tuple[Input, Answer]]:
        """Yield each input with what is predicted, and whether it is like the training data."""
        for item in inputs:
            prepared = self._prepared(item.load())
            logits, *features = self._session.run(self._names, prepared)
            scores = scores_of_logits(logits[0], self.outputs.problem_type)
            if not all(map(math.isfinite, scores)):
                raise InputError(f"The scores of {item.name} are no numbers: the model is damaged.")
            by_label = dict(zip(self.outputs.labels, scores, strict=True))
            answer = answer_of(by_label, self.outputs)
            if self.sets:
                answer = with_set(answer, self.sets, by_label)
            if self._known:
                answer = checked(answer, self._known, features[0][0])
                if self.watch:
                    self.watch.see(answer.fields["similarity"])
            elif self.watch and self.watch.is_of_texts:
                self.watch.see_text(prepared["input_ids"])
            yield item, answer

    def _opened(self, threads: int | None) -> Any:
        try:
            onnxruntime = onnx_runtime()
        except ImportError as error:
            raise InputError(
                "ONNX Runtime is missing: pip install 'nlp-transfer[onnx]'."
            ) from error
        file = self._folder / ONNX
        if not self._folder.is_dir():
            raise InputError(f"{self._folder}: no such folder. Give that of a trained model.")
        if _is_of_other_kind(self._folder):
            raise InputError(f"{self._folder}: is no classifier. Give one.")
        if not file.exists():
            self._refuse("is not there")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0  # all cores
        options.enable_cpu_mem_arena = False  # it keeps room for the longest text ever seen
        try:
            return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # of many kinds
            self._refuse(f"cannot be loaded ({first_line(error)})")

    def _refuse(self, problem: str) -> NoReturn:
        raise InputError(
            f"{self._folder / ONNX} {problem}. Write it: nlp-transfer export "
            f"{shell_path(self._folder)}"
        )

    def _preparation(self, facts: dict[str, Any]) -> Callable[[Any], _Tensors]:
        """Return what makes inputs of the file of a text or an image."""
        if self.task == "image-classification" and "resized_side" in facts:
            return partial(_of_image, facts)
        if self.task == "text-classification" and "max_length" in facts:
            names = [taken.name for taken in self._session.get_inputs()]
            encode = _encoder(self._folder, facts["max_length"])
            return lambda text: _of_text(names, encode(text))
        self._refuse("cannot be run without the processor of the model")


def _is_of_other_kind(folder: Path) -> bool:
    """Return whether a model says that it is no classifier; a detector may be exported, too."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return not any("Classification" in name for name in config["architectures"])
    except (OSError, ValueError, KeyError, TypeError):  # it says nothing
        return False


def _encoder(folder: Path, max_length: int) -> Callable[[str], list[int]]:
    """Return what makes token numbers of a text: `tokenizers`, or the words of a vocabulary."""
    file = folder / "tokenizer.json"
    try:
        if not file.exists():
            file = folder / "vocab.json"
            vocab: dict[str, int] = json.loads(file.read_text(encoding="utf-8"))
            unknown = vocab["[UNK]"]
            return lambda text: [
                vocab.get(word, unknown) for word in long_words(text.lower())[:max_length]
            ]
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(file))
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_length)
    except Exception as error:  # `tokenizers` raises no kind of its own
        raise InputError(
            f"{file}: is no tokenizer ({first_line(error)}). Copy the model anew."
        ) from error
    return lambda text: tokenizer.encode(text).ids


def _of_text(names: Iterable[str], ids: list[int]) -> _Tensors:
    """Return the inputs `int64 [1, tokens]` by their names: token numbers, and a mask of them.

    A text without tokens is given one that is masked, as in a batch with others.
    """
    tokens, mask = np.array([ids or [0]]), np.array([[1] * len(ids) or [0]])
    return {name: tokens if name == "input_ids" else mask for name in names}


def _of_image(facts: dict[str, Any], image: Image.Image) -> _Tensors:
    """Return an image, its shorter side resized, the middle cut out: `float32 [1, 3, h, w]`."""
    sides = [facts["resized_side"] * side // min(image.size) for side in image.size]
    image = image.resize((sides[0], sides[1]), Image.Resampling[facts["interpolation"].upper()])
    height, width = facts["size"]
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    image = image.crop((left, top, left + width, top + height))
    pixels = (np.asarray(image, dtype=np.float32) / 255 - np.float32(facts["mean"])) / np.float32(
        facts["std"]
    )
    return {"pixel_values": pixels.transpose(2, 0, 1)[None]}
