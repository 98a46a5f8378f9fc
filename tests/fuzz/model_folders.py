"""Folders of trained models with one thing damaged: a tensor, a value of some JSON, a file."""

import contextlib
import io
import json
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.fuzz.limits import limited, memory
from tests.fuzz.targets import PHOTO
from tests.small_models import NAMES, TEXTS, save_image_model, save_text_model

ONE, SEVERAL, NUMBER = NAMES
LABELS = ["calm", "urgent"]
VALUES = (
    *("x", "", 0, -1, 1, 1.5, 1e30, 10**9, True, False, None),
    *([], [0], [-1, "x"], {}, {"x": 1}),
)
_MOST_KEYS = 60  # of a dictionary; a vocabulary has more


class Damage(NamedTuple):
    """Something to damage in the folder of a model.

    Attributes:
        name: What it does, and to what.
        to: Does it to a folder.
    """

    name: str
    to: Callable[[Path], None]


def _tfidf(folder: Path) -> None:
    from transformers import TrainerState

    from nlp_transfer.tfidf import tfidf_classifier, tfidf_vectorizer
    from nlp_transfer.trained_model import save_trained

    vectorizer = tfidf_vectorizer().fit(TEXTS)
    weight = np.random.default_rng(0).normal(size=(2, len(vectorizer.vocabulary_)))
    model, tokenizer = tfidf_classifier(vectorizer, weight, [0.0, 0.0], LABELS)
    model.config.positive_label = "urgent"
    save_trained(model, tokenizer, TrainerState(), folder)


def _encoder(folder: Path) -> None:
    from transformers import (
        BertConfig,
        BertModel,
        BertTokenizer,
        TrainerState,
        set_seed,
    )

    from nlp_transfer.encoder_classifier import load_encoder_classifier
    from nlp_transfer.trained_model import save_trained

    words = sorted(set(" ".join(TEXTS).lower().replace(",", " ,").split()))
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    with tempfile.TemporaryDirectory() as base:
        (Path(base) / "vocab.txt").write_text("\n".join([*special, *words]))
        BertTokenizer(str(Path(base) / "vocab.txt"), model_max_length=32).save_pretrained(base)
        set_seed(0)
        size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
        count = len(special) + len(words)
        sizes = {"intermediate_size": 16, "max_position_embeddings": 32, "vocab_size": count}
        BertModel(BertConfig(**size, **sizes)).save_pretrained(base)
        model, tokenizer = load_encoder_classifier(base, LABELS, seed=0)
    model.config.positive_label = "urgent"
    save_trained(model, tokenizer, TrainerState(), folder)


def _classifier(folder: Path, hidden: tuple[int, ...] = ()) -> None:
    from staged_training.heads.familiarity import familiarity
    from staged_training.runtime.seal import seal
    from vision_transfer.backbones import bottleneck, new_head, save_classifier, untrained_backbone

    model, processor = untrained_backbone("test_resnet", LABELS, 32)
    model = new_head(model, LABELS, hidden)
    save_classifier(model, processor, folder)
    if not hidden:
        features = torch.randn(20, bottleneck(model).width, generator=torch.manual_seed(0)).abs()
        familiarity(features).save(folder)
        seal(folder)


def _detector(folder: Path) -> None:
    from vision_transfer.backbones import save_classifier, untrained_backbone
    from vision_transfer.detection.pretrained import load_detector

    with tempfile.TemporaryDirectory() as base:
        save_classifier(*untrained_backbone("test_resnet", LABELS, 32), Path(base) / "base")
        model, processor = load_detector(
            Path(base) / "base", ["head"], size=32, strides=[8, 16], channels=8, hidden_size=8
        )
    torch.nn.init.constant_(list(model.head.parameters())[-1], 0.1)
    save_classifier(model, processor, folder)


def _captioner(folder: Path) -> None:
    from nlp_transfer.vocabulary import add_bounds, build_vocabulary
    from vision_transfer.backbones import untrained_backbone
    from vision_transfer.captioning.captioner import (
        caption_processor,
        new_captioner,
        save_captioner,
        set_generation,
    )

    tokenizer = build_vocabulary(TEXTS, min_frequency=1)
    add_bounds(tokenizer)
    encoder, images = untrained_backbone("test_resnet", ["one", "two"], 32)
    rows = np.random.default_rng(0).normal(0, 0.5, (len(tokenizer), 8)).astype(np.float32)
    rows[tokenizer.pad_token_id] = 0
    model = new_captioner(encoder, tokenizer, rows, context_size=8, hidden_size=8)
    model.decoder.image[0].weight.data *= 1e5  # the features of new layers are tiny
    set_generation(model, longest=5)
    save_captioner(model, caption_processor(images, tokenizer), folder)


MODELS: dict[str, Callable[[Path], None]] = {
    "recurrent": partial(save_text_model, problem_type=ONE, names=LABELS, positive_label="urgent"),
    "labels": partial(save_text_model, problem_type=SEVERAL),
    "number": partial(save_image_model, problem_type=NUMBER),
    "tfidf": _tfidf,
    "encoder": _encoder,
    "classifier": _classifier,
    "mlp": lambda folder: _classifier(folder, (8,)),
    "detector": _detector,
    "captioner": _captioner,
}


def damages(folder: Path) -> Iterator[Damage]:
    """All that can be damaged in the folder of a model."""
    for file in sorted(folder.iterdir()):
        yield from _of_file(file)
        if file.suffix == ".json":
            yield from _of_json(file)
        if file.suffix == ".safetensors":
            yield from _of_tensors(file)


def _of_file(file: Path) -> Iterator[Damage]:
    content = file.read_bytes()
    nested = b'{"a":' * 900 + b"1" + b"}" * 900
    for what, damaged in {
        "cut in the middle": content[: len(content) // 2],
        "cut at the end": content[:-1],
        "emptied": b"",
        "not UTF-8": b"\xff\xfe\x00" + content,
        "nested": nested,
        "nested lists": b"[" * 900 + b"]" * 900,
        "a list": b"[]",
        "null": b"null",
        "a string": b'"x"',
        "a number": b"1e400",
    }.items():
        yield Damage(f"{file.name} {what}", lambda f, d=damaged: (f / file.name).write_bytes(d))

    def replaced(folder: Path, make: Callable[[Path], object]) -> None:
        (folder / file.name).unlink()
        make(folder / file.name)

    for what, make in {
        "removed": lambda path: None,
        "a folder": Path.mkdir,
        "a link to nowhere": lambda path: path.symlink_to("nowhere"),
        "a link to itself": lambda path: path.symlink_to(path.name),
    }.items():
        yield Damage(f"{file.name} {what}", lambda f, m=make: replaced(f, m))
    yield Damage(f"{file.name} unreadable", lambda folder: (folder / file.name).chmod(0))


def _of_json(file: Path) -> Iterator[Damage]:
    def changed(folder: Path, path: tuple[Any, ...], change: Callable[[Any, Any], None]) -> None:
        content = whole = json.loads(file.read_text(encoding="utf-8"))
        for key in path[:-1]:
            content = content[key]
        change(content, path[-1])
        (folder / file.name).write_text(json.dumps(whole), encoding="utf-8")

    def put(value: Any) -> Callable[[Any, Any], None]:
        return lambda holder, key: holder.__setitem__(key, value)

    for path in _paths(json.loads(file.read_text(encoding="utf-8"))):
        where = f"{file.name} {'.'.join(map(str, path))}"
        yield Damage(f"{where} removed", lambda f, p=path: changed(f, p, lambda h, k: h.pop(k)))
        for value in VALUES:
            yield Damage(f"{where} is {value!r}", lambda f, p=path, v=value: changed(f, p, put(v)))


def _paths(content: Any) -> Iterator[tuple[Any, ...]]:
    if isinstance(content, dict | list):
        items = content.items() if isinstance(content, dict) else enumerate(content)
        for key, value in list(items)[:_MOST_KEYS]:
            yield (key,)
            yield from ((key, *path) for path in _paths(value))


def _of_tensors(file: Path) -> Iterator[Damage]:
    changes: dict[str, Callable[[torch.Tensor], torch.Tensor | None]] = {
        "removed": lambda tensor: None,
        "int8": lambda tensor: tensor.to(torch.int8),
        "float16": lambda tensor: tensor.half(),
        "longer": lambda tensor: torch.cat([tensor.view(-1), tensor.view(-1)[:1]]),
        "a scalar": lambda tensor: tensor.sum(),
        "empty": lambda tensor: tensor.view(-1)[:0],
        "NaN": lambda tensor: tensor * float("nan"),
        "infinite": lambda tensor: tensor * 0 + float("inf"),
        "huge": lambda tensor: torch.full_like(tensor, 3e4).mul(1e30),
        "zero": torch.zeros_like,
    }

    def changed(folder: Path, name: str, change: Callable[..., torch.Tensor | None]) -> None:
        tensors = load_file(file)
        tensor = change(tensors.pop(name))
        with safe_open(file, "pt") as opened:
            about = opened.metadata()
        save_file(
            tensors if tensor is None else tensors | {name: tensor}, folder / file.name, about
        )

    with safe_open(file, "pt") as opened:
        names = list(opened.keys())
    for name in names:
        for what, change in changes.items():
            yield Damage(f"{file.name} {name} {what}", lambda f, n=name, c=change: changed(f, n, c))


class Told(NamedTuple):
    """What a command printed, and the status that it ended with."""

    status: int
    out: str
    err: str


def predicted(folder: Path, source: Path) -> Told:
    """Run `predict` on a text or an image."""
    from transfer_app.command_line import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(["predict", str(folder), str(source), "--json"])
    return Told(status, out.getvalue(), err.getvalue())


def source_of(model: str, folder: Path) -> Path:
    """What a model is tried on."""
    if model not in ("recurrent", "labels", "tfidf", "encoder"):
        return PHOTO
    source = folder / "mail.eml"
    source.write_text(f"Subject: {TEXTS[0]}\n\n{TEXTS[1]}\n")
    return source


def verdict(damage: Damage, whole: Path, source: Path, expected: Told) -> str:
    """Damage a copy of a folder, predict with it, and check how that ends.

    Returns:
        `refused`, `same`, or `other`: other scores, which are numbers.

    Raises:
        AssertionError: A refusal is not told in one line that names the folder.
    """
    with tempfile.TemporaryDirectory() as workspace:
        folder = Path(workspace) / "model"
        shutil.copytree(whole, folder)
        damage.to(folder)
        with limited():
            told = predicted(folder, source)
    if told.status == 0:
        json.loads(told.out, parse_constant=lambda name: 1 / 0)
        return "same" if told.out == expected.out else "other"
    lines = told.err.splitlines()
    assert told.status == 2 and not told.out, told
    assert len(lines) == 1 and str(folder) in lines[0] and "Traceback" not in told.err, told
    return "refused"


def count_verdicts(names: Iterable[str], count: int, seed: int) -> dict[str, object]:
    """Damage models as often in all, of each alike, and count how that ended.

    Raises:
        AssertionError: A damaged model gave other scores, or was not refused in one line.
    """
    counts: Counter[str] = Counter()
    longest = 0.0
    names = list(names)
    with tempfile.TemporaryDirectory() as workspace:
        for number, name in enumerate(names):
            whole = Path(workspace) / name
            MODELS[name](whole)
            source = source_of(name, Path(workspace))
            expected = predicted(whole, source)
            assert expected.status == 0, expected
            share = count * (number + 1) // len(names) - count * number // len(names)
            for damage in random.Random(seed).sample(list(damages(whole)), share):
                begin = time.process_time()
                found = verdict(damage, whole, source, expected)
                assert found != "other", f"{name}: {damage.name} gives other scores"
                longest = max(longest, time.process_time() - begin)
                counts[found] += 1
    return {**counts, "longest_seconds": round(longest, 2), "peak_bytes": memory("VmHWM")}
