"""Each public name has an example in its docstring, and each example of a docstring runs.

Examples run in a folder of their own, each docstring by itself. They know what their module
defines, `Path`, `np` and `torch`, and import what else they need. Besides there are, new each time:

- `texts`: 24 real messages at work, half of them urgent, and `labels`, which are 1 for those;
- `tokenizer`: their vocabulary, from `build_vocabulary`;
- `train`: these messages tokenized, and `validation`: 24 others; columns `input_ids`,
  `attention_mask` and `labels`;
- `model`: a small recurrent classifier of them, with random weights;
- `args`: `TrainingArguments` of one epoch on the processor, in silence.

In the folder are `mail/`, ten messages in files, the photo `dog.jpg`, `scans/`, a CT scan of five
slices, and `film.mp4`, a disc that crosses a wall for 2.4 seconds.
"""

import ast
import doctest
import importlib
import inspect
import pkgutil
import shutil
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import TrainingArguments, set_seed

import nlp_transfer
import staged_training
import vision_transfer
from nlp_transfer import build_vocabulary
from nlp_transfer.models import RecurrentConfig, RecurrentForSequenceClassification
from nlp_transfer.text_task import LabelledTexts
from tests.small_data import small_messages
from tests.vision_transfer.ct.scans import write_series
from tests.vision_transfer.films import moving_disc, write_film

TOP_PACKAGES = (staged_training, nlp_transfer, vision_transfer)

CALLED_BY_MODULE = (
    "staged_training.heads.advisor",
    "staged_training.heads.linear_probe",
    "nlp_transfer.encoder_classifier",
    "nlp_transfer.language_models.word2vec",
    "vision_transfer.ct.bags",
    "vision_transfer.pretext.inpainting",
    "vision_transfer.pretext.rotation",
    "vision_transfer.pretext.temporal_order",
)
"""Modules whose functions are public, though no package exports them."""

DATA = Path(__file__).parent / "data"


@cache
def messages(fold):
    rows = small_messages().groupby(["fold", "label"]).head(12)
    rows = rows[rows["fold"] == fold]
    return LabelledTexts(list(rows["text"]), [int(label == "urgent") for label in rows["label"]])


def namespace(module):
    """What the examples of a module know."""
    own = {
        name: value
        for name, value in vars(module).items()
        if getattr(value, "__module__", None) == module.__name__ or name.isupper()
    }
    tokenizer = build_vocabulary(messages(0).texts)
    set_seed(0)
    names = ["non-urgent", "urgent"]
    config = RecurrentConfig(
        vocab_size=len(tokenizer), hidden_size=16, id2label=dict(enumerate(names))
    )
    return {
        "Path": Path,
        "np": np,
        "torch": torch,
        "texts": list(messages(0).texts),
        "labels": list(messages(0).labels),
        "tokenizer": tokenizer,
        "train": messages(0).tokenized(tokenizer),
        "validation": messages(1).tokenized(tokenizer),
        "model": RecurrentForSequenceClassification(config),
        "args": TrainingArguments(
            "out",
            num_train_epochs=1,
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
        ),
        **own,
    }


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The files that are given to examples."""
    folder = tmp_path_factory.mktemp("files")
    write_series(folder / "scans")
    write_film(folder / "film.mp4", moving_disc(0))
    (folder / "mail").symlink_to(DATA / "raw_mail")
    (folder / "dog.jpg").symlink_to(DATA / "beagle.jpg")
    return folder


def modules():
    """The names of all modules, and their files; none of them is imported for it."""
    for package in TOP_PACKAGES:
        root = Path(package.__file__).parent
        for path in sorted(root.rglob("*.py")):
            parts = path.relative_to(root.parent).with_suffix("").parts
            yield ".".join(parts).removesuffix(".__init__"), path


def examples(path):
    """Yield the name, the text and the line of each docstring that holds an example.

    They are read from the source: `doctest.DocTestFinder` passes what is decorated over.
    """
    kinds = ast.Module, ast.ClassDef, ast.FunctionDef
    for node in ast.walk(ast.parse(path.read_text())):
        text = ast.get_docstring(node) if isinstance(node, kinds) else None
        if text and ">>>" in text:
            yield getattr(node, "name", path.stem), text, node.body[0].lineno - 1


def packages():
    for top in TOP_PACKAGES:
        yield top
        for found in pkgutil.walk_packages(top.__path__, f"{top.__name__}."):
            if found.ispkg:
                yield importlib.import_module(found.name)


def exported():
    """The names in the `__all__` of each package, and what they stand for."""
    for package in packages():
        for name in getattr(package, "__all__", ()):
            yield f"{package.__name__}.{name}", getattr(package, name)


def called_by_module():
    """The functions that users call by their module."""
    for name in CALLED_BY_MODULE:
        module = importlib.import_module(name)
        for function in vars(module).values():
            own = inspect.isfunction(function) and function.__module__ == name
            if own and not function.__name__.startswith("_"):
                yield f"{name}.{function.__name__}", function
    backbones = importlib.import_module("vision_transfer.backbones")
    for name in ("load_backbone", "untrained_backbone"):
        yield f"{backbones.__name__}.{name}", getattr(backbones, name)


def test_each_public_name_has_an_example():
    public = [*exported(), *called_by_module()]
    described = [p for p in public if inspect.isclass(p[1]) or inspect.isfunction(p[1])]
    assert len(described) > 50
    assert not [name for name, value in described if ">>>" not in (value.__doc__ or "")]


def test_no_object_is_exported_twice():
    names = list(exported())
    times = Counter(id(value) for _, value in names)
    assert not [name for name, value in names if times[id(value)] > 1]


@pytest.mark.parametrize(
    ("name", "path"),
    [pytest.param(name, path, id=name) for name, path in modules() if any(examples(path))],
)
def test_examples_run(name, path, files, tmp_path, monkeypatch):
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    told = []
    for number, (docstring, text, line) in enumerate(examples(path)):
        folder = tmp_path / str(number)
        folder.mkdir()
        for file in files.iterdir():
            if file.name in text:
                copy = shutil.copytree if file.is_dir() else shutil.copy
                copy(file, folder / file.name)
        monkeypatch.chdir(folder)
        parsed = doctest.DocTestParser().get_doctest(
            text, namespace(module), docstring, str(path), line
        )
        runner.run(parsed, out=told.append)
    assert not runner.failures, "".join(told)
