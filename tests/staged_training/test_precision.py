"""Mixed precision: one setting for all that a run trains, and features that are the same bits."""

import os
from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset
from transformers import Trainer, TrainingArguments

from staged_training import InputError, Stage, StagedTrainer, freeze, on_features
from staged_training.experiment.parallel import run_parallel
from staged_training.features.extraction import compute_features
from staged_training.runtime.precision import MIXED_PRECISION, mixed_precision
from tests.staged_training.conftest import ConvNet, collate
from tests.staged_training.test_feature_reuse import TRIED
from transfer_app.command_line import main

PLAIN = "The frozen layers run in every epoch, not once"
"""What is told where features are not the same bits: BERT's on a processor that has no products of
16 bits, as it rounds them by the batch."""

pytestmark = pytest.mark.usefixtures("every_warning_is_told")

STAGES = [
    Stage("head", train="head", epochs=3, learning_rate=0.05),
    Stage("top", train="backbone[-1:], head", epochs=3, learning_rate=0.01),
]


def texts():
    ids = torch.randint(1, 50, (24, 9), generator=torch.Generator().manual_seed(0))
    lengths = torch.arange(24) % 7 + 3
    pairs = zip(ids, lengths, strict=True)
    return [{"input_ids": own[:length], "labels": length % 2} for own, length in pairs]


def padded(examples):
    ids = nn.utils.rnn.pad_sequence([example["input_ids"] for example in examples], True)
    labels = torch.stack([example["labels"] for example in examples])
    return {"input_ids": ids, "attention_mask": (ids > 0).long(), "labels": labels}


def data_of(name, images):
    if name == "bert":
        return texts(), padded
    pixels, labels = images.tensors
    return TensorDataset(nn.functional.interpolate(pixels, size=32), labels), collate


@pytest.mark.device
@pytest.mark.parametrize("name", ["bert", "resnet", "convnet"])
def test_stages_on_features_end_with_the_same_bits(name, request, arguments, images, caplog):
    model, (data, collator) = request.getfixturevalue(name), data_of(name, images)
    start = {n: tensor.clone() for n, tensor in model.state_dict().items()}
    lowest = next(m for m in model.modules() if any(True for _ in m.parameters(recurse=False)))
    seen = []
    lowest.register_forward_hook(lambda *call: seen.append(len(call[2]) * any(call[2].stride())))

    def run(reuse):
        model.load_state_dict(start)
        seen.clear()
        trainer = StagedTrainer(
            model,
            arguments(bf16=True),
            STAGES,
            reuse_features=reuse,
            train_dataset=data,
            eval_dataset=data,
            data_collator=collator,
        )
        trainer.train()
        losses = [e["eval_loss"] for e in trainer.state.log_history if "eval_loss" in e]
        weights = {n: tensor.clone() for n, tensor in model.state_dict().items()}
        return losses, weights, sum(seen), trainer.args.device.type

    (losses, whole, all_seen, device), (stored_losses, reused, once_seen, _) = run(False), run(True)
    assert all_seen == (2 * 6 + 1) * len(data)  # each epoch, and before the second stage
    if device == "cpu":
        assert losses == stored_losses
        assert all(torch.equal(whole[n], reused[n]) for n in whole)
        if name == "bert" and PLAIN in caplog.text:
            assert once_seen > all_seen  # each epoch again, and what was tried
        else:
            assert once_seen <= 2 * (2 * len(data) + TRIED)
        return
    # Kernels of accelerators depend on the size of a batch, so that a few examples prove less.
    for n, tensor in whole.items():
        torch.testing.assert_close(reused[n], tensor, rtol=0, atol=2e-2)


def test_stored_are_the_numbers_that_the_whole_model_computes(bert, arguments, caplog):
    trainer = Trainer(bert, arguments(bf16=True), train_dataset=texts(), data_collator=padded)
    freeze(bert, "backbone[:-1]")
    inputs = []
    handle = bert.bert.encoder.layer[-1].register_forward_pre_hook(
        lambda _, args: inputs.append(args[0])
    )
    with torch.no_grad(), trainer.accelerator.autocast():
        bert.eval()(**padded(texts()[:1]))
    handle.remove()
    with on_features(trainer):
        example = trainer.train_dataset[0]
    if PLAIN in caplog.text:
        pytest.skip("this processor rounds 16 bits by the batch")
    stored = example["features"]
    assert torch.equal(stored[: inputs[0].numel()], inputs[0].flatten().to(stored.dtype))


def test_features_that_no_trainer_asks_for_are_of_32_bits(resnet, arguments, images):
    data, collator = data_of("resnet", images)
    before = compute_features(resnet, data, collator).columns["features"]
    freeze(resnet, "backbone")
    Trainer(resnet, arguments(bf16=True), train_dataset=data, data_collator=collator).train()
    after = compute_features(resnet, data, collator).columns["features"]
    assert torch.equal(before, after) and after.dtype == torch.float32


class Rounding(ConvNet):
    """Its frozen stem gives other numbers in larger batches, by less than 16 bits may round."""

    def forward(self, pixel_values, labels=None):
        scale = 1 + 2**-8 * (len(pixel_values) > 1)
        return super().forward(pixel_values * scale, labels)


def test_features_that_are_not_the_same_bits_are_not_trained_on(arguments, images, caplog):
    trainer = Trainer(Rounding(), arguments(bf16=True), train_dataset=images, data_collator=collate)
    freeze(trainer.model, "backbone")
    with on_features(trainer):
        assert trainer.train_dataset is images
    assert PLAIN in caplog.text


def test_all_processes_of_a_run_compute_in_its_precision():
    asked = {"one": partial(os.getenv, MIXED_PRECISION), "two": partial(os.getenv, MIXED_PRECISION)}
    assert set(run_parallel(asked, "pieces")) <= {None, "no"}
    with mixed_precision("bf16"):
        assert run_parallel(asked, "pieces") == ["bf16"] * 2
        assert TrainingArguments(use_cpu=True).mixed_precision == "bf16"
    assert set(run_parallel(asked, "pieces")) <= {None, "no"}


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is an accelerator")
def test_half_precision_without_an_accelerator_is_refused_before_any_work(tmp_path, capsys):
    out = tmp_path / "out"
    run = ["run", "requests", "--precision", "fp16", "--output-dir", str(out)]
    assert main(run) == 2
    assert "--precision is fp16, which needs an accelerator" in capsys.readouterr().err
    assert not out.exists()


def test_a_precision_that_nothing_would_compute_in_is_refused(tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["run", "word-embeddings", "--precision", "bf16", "--output-dir", str(out)]) == 2
    assert "--precision is for --model window" in capsys.readouterr().err
    assert not out.exists()


def test_a_launcher_that_was_asked_for_another_precision_is_refused(monkeypatch):
    monkeypatch.setenv(MIXED_PRECISION, "fp16")
    told = pytest.raises(InputError, match="mixed precision fp16, and `precision` is bf16")
    with told, mixed_precision("bf16"):
        raise AssertionError
