"""Opening a trained model, whatever it predicts, and predicting with it."""

import errno
import importlib
import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from reprlib import repr as beginning
from typing import Any

from transformers import AutoConfig, PreTrainedConfig
from transformers.utils import logging

from nlp_transfer.emails.reading import stream_text_table
from nlp_transfer.emails.text_tables import TextStream
from staged_training import InputError
from staged_training.heads.conformal import LabelSets
from staged_training.heads.drift import watch_of
from staged_training.runtime.errors import first_line
from staged_training.runtime.printable import STDERR, silenced
from staged_training.runtime.seal import check_seal
from staged_training.tables.reading import is_table, table_suffix
from staged_training.tables.writing import SUFFIXES as TABLES
from staged_training.tables.writing import check_schema
from transfer_app.prediction import coco
from transfer_app.prediction.classifiers import Classifier, PhotoClassifier, TextClassifier
from transfer_app.prediction.inputs import Unread, usable
from transfer_app.prediction.output import write_predictions
from transfer_app.prediction.parts import asked_of
from transfer_app.prediction.photos import Captioner, Detector, PhotoPredictor
from transfer_app.prediction.text_inputs import texts, texts_of_table

_OF_PHOTOS: dict[str, type[PhotoPredictor]] = {  # by a part of the name of an architecture
    "ImageTextToText": Captioner,
    "ObjectDetection": Detector,
    "ImageClass": PhotoClassifier,
}
_OF_RUST = "PanicException"  # of the tokenizers; no `Exception`, and not to be imported
_logger = logging.get_logger(__name__)
_TABLES = f"Use one of the endings {', '.join(TABLES)}."
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def predict(
    model: str,
    sources: Sequence[str],
    text_columns: Sequence[str] | None,
    *,
    as_json: bool = False,
    output: Path | None = None,
    sets: LabelSets | None = None,
) -> None:
    """Predict with a trained model; print lines or a table for people, or JSON for programs.

    A classifier whose training features were saved, see `Familiarity`, marks what is out of
    distribution. Where inputs as a whole are unlike its training data, see `Watch`, a warning says
    so in the end.

    Args:
        model: Folder or Hub name of the model, which tells what it predicts.
        sources: Files to read: for a text model as `read_texts`, or `-` for lines of standard
            input; for an image model images, scans of CT (DICOM or NIfTI, see `scans` and `series`)
            and folders of them.
        text_columns: Columns of a table to read as text; by default those that the model was
            trained on, see `text_columns_of_model`.
        as_json: Print JSON objects, in the order of the inputs.
        output: A file to write to in place of printing: COCO's (.json) of a captioner or a
            detector, see `write_coco`; subtitles of a film (.vtt), see `write_subtitles`; else a
            table, see `write_predictions`.
        sets: What gives each input the set of labels that cannot be excluded, see `label_sets`.

    Raises:
        InputError: An input cannot be read, or there is no model.
    """
    if output is not None:
        _check_sources(output, sources)
    # A table is read first: what is wrong with its columns is told before a model is loaded.
    tables = _tables(model, sources, text_columns)
    for table in tables.values():
        if output is not None:
            check_schema(table.table.schema, output)
        if output is None or table.is_blank():
            table.check_filled()

    def read_texts(name: str) -> Unread:
        return texts_of_table(tables[name]) if name in tables else texts(name)

    predictor = open_predictor(model)
    if isinstance(predictor, Classifier):
        predictor.sets, predictor.watch = sets, watch_of(model)
    if output is not None and output.suffix.lower() in TABLES:
        inputs = next(iter(tables.values()), None) or predictor.inputs(sources, read_texts)
        options = {"text_columns": text_columns, "coverage": sets and sets.coverage}
        asked = asked_of(model, sources, output, rows=predictor.rows_at_once, **options)
        print(write_predictions(predictor, inputs, output, asked))
    elif output is not None:
        read = partial(predictor.inputs, sources, read_texts)
        print(_write(predictor, read, sources, output))
    elif as_json:
        unread = predictor.inputs(sources, read_texts)
        for item, prediction in predictor.predict(usable(unread.read())):
            print(json.dumps({"input": item.name, **item.facts, **prediction.fields}))
    else:
        unread = predictor.inputs(sources, read_texts)
        for line in filter(None, predictor.describe(usable(list(unread.read())))):
            print(line)
    watch = predictor.watch if isinstance(predictor, Classifier) else None
    if watch and (told := watch.described()):
        _logger.warning(told)


def _write(
    predictor: TextClassifier | PhotoPredictor,
    inputs: Callable[[], Unread],
    sources: Sequence[str],
    file: Path,
) -> str:
    """Write predictions as COCO or WebVTT, as the ending of a file says; return what, in words.

    Raises:
        InputError: The model predicts nothing that this format has, or an input cannot be read.
    """
    from transfer_app.prediction import subtitles  # which needs what reads films

    suffix, not_given = file.suffix.lower(), f"and the model gives none. {_TABLES}"
    if isinstance(predictor, Detector):
        not_given = f"{not_given[:-1]}, or {coco.SUFFIX}."
    if suffix == subtitles.SUFFIX:
        if not isinstance(predictor, Captioner):
            raise InputError(f"{file}: subtitles are captions, {not_given}")
        return subtitles.write_subtitles(predictor, sources, file)
    if not isinstance(predictor, Captioner | Detector):
        raise InputError(f"{file}: COCO's format is of boxes and captions, {not_given}")
    return coco.write_coco(predictor, inputs().read(), sources, file)


def _tables(
    model: str, sources: Sequence[str], text_columns: Sequence[str] | None
) -> dict[str, TextStream]:
    """Return the tables among the sources of texts, by their names."""
    named = [name for name in sources if table_suffix(Path(name))]
    config = _config_of(model) if named else {}
    if _kind_of(config) is not TextClassifier:
        return {}
    trained_on = _trained_columns(model, config) if text_columns is None else []
    read = {name: stream_text_table(name, text_columns, trained_on) for name in named}
    return {name: table for name, table in read.items() if table}


def _config_of(model: str) -> dict[str, Any]:
    """Return the configuration of a model as it is stored; nothing of a damaged one."""
    try:
        return dict(PreTrainedConfig.get_config_dict(model)[0])
    except Exception:  # it may be damaged in any way, which is told when the model is opened
        return {}


def _trained_columns(model: str, config: dict[str, Any]) -> list[str]:
    """Return the columns of a table that a model was trained on, if its configuration says so.

    Raises:
        InputError: It says something else there.
    """
    columns = config.get("text_columns") or []
    if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
        raise InputError(
            f"{model}: its text_columns, {beginning(columns)}, are no names of columns. Copy the "
            "model anew, or choose columns by `text_columns`.",
            ["text_columns"],
        )
    return columns


def _check_sources(output: Path, sources: Sequence[str]) -> None:
    """Refuse a file that is one of the inputs, and a table beside other inputs.

    Raises:
        InputError: It is, or there is one.
    """
    tables = [name for name in sources if is_table(Path(name))]
    if tables and len(sources) > 1:
        raise InputError(
            f"{tables[0]}: `output` keeps the columns of a table, so that it can be the only "
            "input. Write a file for each.",
            ["output"],
        )
    if output.exists() and any(Path(name).exists() and output.samefile(name) for name in sources):
        raise InputError(f"{output}: is an input, and would be replaced. Name another file.")


def open_predictor(model: str) -> TextClassifier | PhotoPredictor:
    """Open a trained model by its folder or its name on the Hub.

    Raises:
        InputError: There is no model that can be loaded and works.
    """
    if find_spec("timm"):  # the extra `vision`
        importlib.import_module("vision_transfer")  # makes its models known
    try:
        with _quiet_transformers():
            check_seal(model)
            predictor = _opened(model)
            with silenced(STDERR):  # where the tokenizers report a panic, which is an error, too
                predictor.check()
        return predictor
    except InputError:
        raise
    except BaseException as error:  # libraries raise almost anything on damage
        if not isinstance(error, Exception) and type(error).__name__ != _OF_RUST:
            raise
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            raise InputError(
                f"{model}: there is no room for it ({error}). Free some, or set HF_HOME to a "
                "folder on another disk. Nothing was left half downloaded."
            ) from error
        raise InputError(
            f"{model}: no model could be loaded from there ({first_line(error)}). Give "
            "the folder that a recipe wrote (its --output-dir), or a name on the Hub."
        ) from error


def _opened(model: str) -> TextClassifier | PhotoPredictor:
    config = AutoConfig.from_pretrained(model, trust_remote_code=False)
    return _kind_of(config.to_dict())(model)


def _kind_of(config: dict[str, Any]) -> type[TextClassifier] | type[PhotoPredictor]:
    """Return the kind of predictor by the architecture that a configuration names."""
    architecture = str(config.get("architectures"))
    kinds = (kind for part, kind in _OF_PHOTOS.items() if part in architecture)
    return next(kinds, TextClassifier)


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Keep libraries from warning of what is told better as an error."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
