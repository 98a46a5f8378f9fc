"""What is promised of every model, tried on one: a `Record` tells what was kept."""

import copy
import gc
import itertools
import logging
import re
import tempfile
import time
import traceback
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PrinterCallback, Trainer, TrainingArguments

import staged_training
from staged_training import Stage, StagedTrainer, freeze, layer_groups, on_features
from staged_training.features import reuse
from staged_training.layers import select_parameters
from tests.architectures.cases import Case
from tests.architectures.inputs import LABEL_NAMES, Example, collator, examples
from tests.architectures.records import Record

FALLBACK = "The frozen layers run in every epoch"
_TOLERANCE = 1e-5
_RATE = 0.02
_TRAINED, _EVALUATED, _BATCH, _EPOCHS = 12, 6, 4, 2

PROMISES = ("build", "groups", "frozen", "optimizer", "top block")
ON_FEATURES = ("head on features", "top on features")


# `Trainer` collects garbage whenever it begins to train: let it pass over all that was imported.
gc.freeze()


class _BrokenError(Exception):
    """A promise that the model does not keep; the message tells how."""


def check(case: Case) -> Record:
    """Try everything on one class."""
    start = time.perf_counter()
    record = Record(case.task, case.model_type, case.class_name)
    steps: tuple[Callable[[Case], str], ...] = (
        _trains,
        _check_groups,
        _check_frozen,
        _check_optimizer,
        _check_top_block,
        partial(_check_features, frozen="backbone"),
        partial(_check_features, frozen="backbone[:-1]"),
    )
    for name, step in zip((*PROMISES, *ON_FEATURES), steps, strict=True):
        try:
            record.status[name], _, record.reason[name] = step(case).partition(": ")
        except _BrokenError as error:
            record.status[name], record.reason[name] = "broken", str(error)
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            text = f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
            record.status[name], record.reason[name] = "crash", re.sub(r"\s+", " ", text)[:400]
        if record.status["build"] != "ok":
            break
    if record.status["build"] == "ok":
        model = case.build()
        record.parameters = sum(p.numel() for p in model.parameters())
        if record.status["groups"] != "crash":
            record.groups = [group.name for group in layer_groups(model)]
    record.reason = {name: reason for name, reason in record.reason.items() if reason}
    record.seconds = round(time.perf_counter() - start, 2)
    return record


def _batch(case: Case, model: nn.Module, count: int = _BATCH) -> dict[str, torch.Tensor]:
    return dict(collator(model)(examples(model, case.task, count)))


def _trains(case: Case) -> str:
    """Whether the model computes a loss that can be trained, without anything of ours."""
    model = case.build().train()
    loss = model(**_batch(case, model))["loss"]
    loss.backward()
    return "ok" if torch.isfinite(loss) else "broken: its loss is not a number"


def _check_groups(case: Case) -> str:
    model = case.build()
    groups = layer_groups(model)
    owners: dict[int, list[str]] = {id(parameter): [] for parameter in model.parameters()}
    for group in groups:
        for parameter in {id(p) for p in group.parameters.values()}:
            owners[parameter].append(group.name)
    for name, parameter in model.named_parameters():
        if len(owners[id(parameter)]) != 1:
            raise _BrokenError(f"{name} is in {owners[id(parameter)] or 'no group'}")
    if groups[-1].name != "head" or not groups[-1].parameters:
        raise _BrokenError("the head is empty")
    if not any(group.parameters for group in groups[:-1]):
        raise _BrokenError("the backbone is empty")
    names = [group.name for group in groups]
    if len(set(names)) < len(names):
        raise _BrokenError(f"two groups have one name: {names}")
    return "ok"


def _check_frozen(case: Case) -> str:
    model = case.build()
    freeze(model, "backbone")
    head = layer_groups(model)[-1]
    model.eval()(**_batch(case, model))  # some make a buffer when they first run
    before = {name: tensor.clone() for name, tensor in _named_tensors(model)}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained:
        raise _BrokenError("nothing is left to train")
    for optimizer in (torch.optim.SGD(trained, lr=0.1), torch.optim.AdamW(trained, lr=0.1)):
        for _ in range(3):
            model.train()
            model(**_batch(case, model))["loss"].backward()
            optimizer.step()
            optimizer.zero_grad()
    moved = [name for name, tensor in _named_tensors(model) if not _same(tensor, before[name])]
    own = {id(p) for p in head.parameters.values()}
    own |= {id(b) for module in head.modules.values() for b in module.buffers()}
    frozen = {name for name, tensor in _named_tensors(model) if id(tensor) not in own}
    if wrong := [name for name in moved if name in frozen]:
        raise _BrokenError(f"frozen, but moved: {', '.join(wrong[:3])}")
    if not any(
        name in moved for name, parameter in model.named_parameters() if id(parameter) in own
    ):
        raise _BrokenError("nothing of the head moved")
    return "ok"


def _named_tensors(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    return itertools.chain(model.named_parameters(), model.named_buffers())


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one.nan_to_num(), other.nan_to_num())


def _check_optimizer(case: Case) -> str:
    model = case.build()
    stage = Stage("all", train="all", epochs=1, learning_rate=0.01, layer_decay=0.5)
    train = examples(model, case.task, _TRAINED)
    with tempfile.TemporaryDirectory() as folder:
        trainer = StagedTrainer(
            model,
            _arguments(folder, train[0]),
            [stage],
            allow_joint_training=True,
            train_dataset=train,
            data_collator=collator(model),
        )
        optimizer = trainer.create_optimizer()
    entries = [id(p) for group in optimizer.param_groups for p in group["params"]]
    wanted = [id(p) for p in model.parameters() if p.requires_grad]
    if len(entries) > len(set(entries)):
        raise _BrokenError(f"{len(entries) - len(set(entries))} parameters are entered twice")
    if missing := set(wanted) - set(entries):
        raise _BrokenError(f"{len(missing)} parameters are not entered")
    return "ok"


def _check_top_block(case: Case) -> str:
    model = case.build()
    selected = select_parameters(model, "backbone[-1:]")
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    matrices = [n for n, p in selected.items() if p.ndim > 1 and id(p) not in tables]
    if not matrices:
        raise _BrokenError(f"no matrix in it: {', '.join(list(selected)[:3])}")
    if not any(re.search(r"\.\d+\.|_\d+\.|\d\.", name) for name in matrices):
        raise _BrokenError(f"no block of a stack in it: {', '.join(matrices[:3])}")
    backbone = layer_groups(model)[:-1]
    if len(backbone) < 2:
        raise _BrokenError("the backbone is a single group")
    return "ok"


def _check_features(case: Case, frozen: str) -> str:
    whole = _trained(case, frozen, reuse=False)
    fast = _trained(case, frozen, reuse=True)
    if fast.warning:
        # Some draw numbers that no seed decides: Reformer does, to hash.
        equal = _largest_difference(whole, fast) == 0 or _largest_difference(
            whole, _trained(case, frozen, reuse=False)
        )
        return f"warned: {fast.warning}" if equal else "different: warned, and other weights"
    difference = _largest_difference(whole, fast)
    losses = abs(whole.loss - fast.loss) / max(1, abs(whole.loss))
    if not difference <= _TOLERANCE or not losses <= _TOLERANCE:
        return _judged(case, frozen, difference, losses)
    if not whole.moved:
        return "broken: no weight moved"
    if fast.passes >= whole.passes:
        return f"broken: frozen layers ran {fast.passes} times, {whole.passes} without features"
    return "equal"


def _judged(case: Case, frozen: str, difference: float, losses: float) -> str:
    """Tell what is rounded off from what is another result: in double precision it all but goes."""
    told = f"weights by {difference:.2g}, evaluation loss by {losses:.2g}"
    try:
        whole, fast = (_trained(case, frozen, reuse=r, dtype=torch.double) for r in (False, True))
    except RuntimeError:  # some kernels know no double precision
        return f"different: {told}"
    exact = max(_largest_difference(whole, fast), abs(whole.loss - fast.loss))
    if not fast.warning and exact <= max(difference, losses) / 100:
        return f"rounded: {told}, in double precision by {exact:.2g}"
    return f"different: {told}"


@dataclass
class _Result:
    weights: dict[str, torch.Tensor]
    moved: bool
    loss: float
    passes: int
    warning: str


def _trained(case: Case, frozen: str, *, reuse: bool, dtype: torch.dtype = torch.float) -> _Result:
    """Train on two epochs, on features or not, and evaluate."""
    model = case.build().to(dtype)
    freeze(model, frozen)
    before = copy.deepcopy(model.state_dict())
    train = _of_type(examples(model, case.task, _TRAINED), dtype)
    with tempfile.TemporaryDirectory() as folder, _warnings() as warnings:
        trainer = Trainer(
            model,
            _arguments(folder, train[0]),
            train_dataset=train,
            eval_dataset=_of_type(examples(model, case.task, _EVALUATED, seed=1), dtype),
            data_collator=collator(model),
        )
        trainer.remove_callback(PrinterCallback)
        with on_features(trainer) if reuse else nullcontext():
            with _Passes(model) as passes:
                trainer.train()
            loss = trainer.evaluate()["eval_loss"]
    after = model.state_dict()
    moved = any(not torch.equal(after[name], before[name]) for name in before)
    return _Result(dict(after), moved, loss, passes.count, "; ".join(warnings))


def _of_type(rows: list[Example], dtype: torch.dtype) -> list[Example]:
    return [{n: t.to(dtype) if t.is_floating_point() else t for n, t in r.items()} for r in rows]


def _arguments(folder: str, names: Collection[str]) -> TrainingArguments:
    # Steps of plain SGD are as long as gradients are: those of AdamW make 1 of 1e-9.
    return TrainingArguments(
        folder,
        per_device_train_batch_size=_BATCH,
        per_device_eval_batch_size=_BATCH,
        num_train_epochs=_EPOCHS,
        learning_rate=_RATE,
        optim="sgd",
        seed=3,
        use_cpu=True,
        disable_tqdm=True,
        report_to="none",
        save_strategy="no",
        # Some classes do not name the labels among the inputs of their forward pass.
        remove_unused_columns=False,
        label_names=[name for name in LABEL_NAMES if name in names],
        logging_strategy="no",
    )


def _largest_difference(one: _Result, other: _Result) -> float:
    """How far tensors are apart, by the size of their largest number where that is above 1."""
    return max(
        ((a - b).nan_to_num(nan=torch.inf).abs().max() / a.abs().max().clamp(min=1)).item()
        for a, b in zip(one.weights.values(), other.weights.values(), strict=True)
        if a.is_floating_point() and a.numel()
    )


class _Passes(TorchDispatchMode):
    """Count how often frozen matrices are used, whatever module uses them; tables do not count."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
        frozen = (p for p in model.parameters() if not p.requires_grad and p.ndim > 1)
        self.watched = {id(p) for p in frozen} - tables
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += sum(id(value) in self.watched for value in args)
        return func(*args, **(kwargs or {}))


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """Collect what is said about falling back to whole passes."""
    found: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if FALLBACK in record.getMessage():
                found.append(record.getMessage())

    reuse._warn_once.cache_clear()  # it was maybe said of the model before
    logger = logging.getLogger(staged_training.__name__)
    handler = Collector()
    logger.addHandler(handler)
    try:
        yield found
    finally:
        logger.removeHandler(handler)
