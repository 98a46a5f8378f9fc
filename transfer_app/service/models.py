"""The models of a service."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from PIL import Image

from staged_training.runtime.errors import InputError, first_line
from staged_training.runtime.seal import digest
from transfer_app.prediction.inputs import Input
from transfer_app.prediction.onnx_classifier import ONNX, WEIGHTS, OnnxClassifier, open_fast
from transfer_app.service.batching import Batcher
from transfer_app.service.schemas import Model

if TYPE_CHECKING:
    from transfer_app.prediction.predictor import Predictor

_DIGITS = 12  # of a version
_FAILED = "makes the model fail"


def opened(folders: Sequence[str | Path], most_waiting: int) -> dict[str, "Served"]:
    """Return models by their names.

    Args:
        folders: Their folders.
        most_waiting: How many inputs may wait for each.

    Raises:
        InputError: A folder holds no model that can be served, or two have the same name.
    """
    paths = [Path(folder) for folder in folders]
    check_folders(paths)
    return {_name(folder): Served(folder, most_waiting) for folder in paths}


def check_folders(folders: Sequence[Path]) -> None:
    """Refuse folders that are not there, or of the same name.

    Raises:
        InputError: One is not, or two are.
    """
    named: dict[str, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder. Give that of a trained model.")
        other = named.setdefault(_name(folder), folder)
        if other is not folder:
            raise InputError(
                f"{other} and {folder}: both would be served as {_name(folder)}. Rename one."
            )


class Served:
    """A model of a service.

    Args:
        folder: Its folder, after which it is named.
        most_waiting: How many inputs may wait for it.

    Attributes:
        description: What clients are told of it.
        card: Its model card as Markdown, if it has one.
        batcher: What predicts with it.

    Raises:
        InputError: There is no model that can be loaded and works, or it cannot be served.
    """

    def __init__(self, folder: Path, most_waiting: int) -> None:
        model = open_fast(str(folder))
        if getattr(model, "ct", None):
            raise InputError(
                f"{folder}: is a model of CT, whose slices lie in many files, and is not served. "
                "Use it by: nlp-transfer predict."
            )
        outputs = getattr(model, "outputs", None)  # of a classifier
        self.description = Model(
            name=_name(folder),
            version=_version(folder),
            task=cast(Any, model.task),
            runs_by="ONNX Runtime" if isinstance(model, OnnxClassifier) else "PyTorch",
            **(outputs._asdict() if outputs else {}),
        )
        _try(model, folder, self.is_of_texts)
        card = folder / "README.md"
        self.card = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else None
        self.batcher = Batcher(model.predict, most_waiting)

    @property
    def is_of_texts(self) -> bool:
        """Whether it predicts of texts; others do of images."""
        return self.description.task == "text-classification"

    async def answers(self, inputs: Sequence[Input], until: float) -> list[dict[str, Any]]:
        """Return what it says of each input, as `predict` does, or the problem of the input.

        Raises:
            BusyError: Too many inputs wait, or their turn does not come until then.
        """
        usable = [item for item in inputs if item.problem is None]
        predictions = iter(await self.batcher.predict(usable, until))
        answers = []
        for item in inputs:
            prediction = next(predictions) if item.problem is None else None
            fields = prediction.fields if prediction else {"problem": item.problem or _FAILED}
            answers.append({"input": item.name} | fields)
        return answers


def _name(folder: Path) -> str:
    return folder.resolve().name


def _try(model: "OnnxClassifier | Predictor", folder: Path, is_of_texts: bool) -> None:
    """Refuse a model that fails on a short text or a small image."""
    sample = "Call me before noon." if is_of_texts else Image.new("RGB", (64, 48), "gray")
    try:
        list(model.predict([Input("a sample", sample)]))
    except InputError:
        raise
    except Exception as error:  # libraries raise almost anything on damage
        reason = first_line(error)
        raise InputError(f"{folder}: the model fails ({reason}). Copy it anew.") from error


def _version(folder: Path) -> str:
    """Return the beginning of the checksum of what a model computes with."""
    files = [folder / name for name in (WEIGHTS, ONNX) if (folder / name).is_file()]
    return digest(files[0])[:_DIGITS] if files else "unknown"
