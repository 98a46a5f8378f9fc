"""A head trained on stored features is the head that would have been trained on the whole model."""

import copy
import logging
import shutil
from contextlib import nullcontext
from types import SimpleNamespace

import psutil
import pytest
import torch
from datasets import Dataset
from torch import nn
from torch.utils.data import IterableDataset, TensorDataset
from transformers import Trainer, set_seed

from staged_training import (
    InputError,
    Stage,
    StagedTrainer,
    freeze,
    layer_groups,
    on_features,
)
from staged_training.features.extraction import compute_features
from staged_training.features.head import FeatureHead, base_features
from staged_training.features.reuse import features_key
from staged_training.features.store import collate_features
from tests.staged_training.conftest import ConvNet, collate

TRIED = 36
"""Passes of an example, at the most, by which it is found out how to run the upper layers alone."""

BATCHES = {
    "bert": {"input_ids": torch.arange(24).view(4, 6), "labels": torch.tensor([0, 1, 0, 1])},
    "resnet": {"pixel_values": torch.randn(4, 3, 32, 32), "labels": torch.tensor([0, 1, 0, 1])},
    "convnet": {"pixel_values": torch.randn(4, 3, 16, 16), "labels": torch.tensor([0, 1, 0, 1])},
}


def accuracy(prediction):
    return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}


def trainer_of(kind, args, images, *stages, **options):
    set_seed(0)
    model = ConvNet()
    common = {"train_dataset": images, "data_collator": collate, "eval_dataset": images}
    common |= {"compute_metrics": accuracy, **options}
    return kind(model, args, *stages, **common)


@pytest.fixture
def resnet_and_photos(resnet, images):
    """A model whose layers follow each other, and images that it can learn."""
    pixels = torch.nn.functional.interpolate(images.tensors[0], size=32)
    return resnet, TensorDataset(pixels, images.tensors[1])


def count_passes(model):
    """How many examples the first layer of a model has read, in a list that grows."""
    seen = []
    return count_computed(model.stem, seen)


def count_computed(layer, seen):
    """Note the examples of each call that a layer computes; that of a stand-in is blank."""
    layer.register_forward_hook(
        lambda _, inputs, output: seen.append(len(output) if any(output.stride()) else 0)
    )
    return seen


@pytest.mark.parametrize("name", BATCHES)
def test_logits_and_loss_from_features_are_those_of_the_model(name, request):
    model, batch = request.getfixturevalue(name).eval(), BATCHES[name]
    head = FeatureHead(model, batch)
    with torch.no_grad():
        whole = model(**batch)
        alone = head(base_features(model, batch), batch["labels"])
    torch.testing.assert_close(alone["logits"], whole["logits"], rtol=0, atol=1e-5)
    torch.testing.assert_close(alone["loss"], whole["loss"], rtol=0, atol=1e-5)


@pytest.mark.device
def test_the_plain_trainer_ends_with_the_same_head_and_metrics(arguments, images):
    def run(reuse):
        args = arguments(num_train_epochs=5, eval_strategy="epoch")
        trainer = trainer_of(Trainer, args, images)
        freeze(trainer.model, "backbone")
        before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
        seen = count_passes(trainer.model)
        if reuse:
            with on_features(trainer):
                trainer.train()
        else:
            trainer.train()
        for name, tensor in trainer.model.state_dict().items():
            assert torch.equal(tensor, before[name]) != name.startswith("head."), name
        scores = [e["eval_loss"] for e in trainer.state.log_history if "eval_loss" in e]
        return trainer.model.head.weight, scores, sum(seen)

    (whole, whole_scores, whole_seen), (reused, scores, seen) = run(False), run(True)
    torch.testing.assert_close(reused, whole, rtol=0, atol=1e-5)
    assert scores == pytest.approx(whole_scores, abs=1e-5)
    assert whole_seen == 2 * 5 * len(images)
    assert seen <= 2 * len(images) + TRIED  # once each


@pytest.mark.device
def test_a_stage_on_features_ends_with_the_model_of_one_without(arguments, images):
    stages = [
        Stage("head", train="head", epochs=3, learning_rate=0.05),
        Stage("top", train="blocks.1, head", epochs=2, learning_rate=0.01),
    ]

    def run(reuse):
        args = arguments(metric_for_best_model="accuracy")
        trainer = trainer_of(StagedTrainer, args, images, stages, reuse_features=reuse)
        trainer.train()
        return trainer

    whole, reused = run(False), run(True)
    assert [r.trained for r in whole.results] == [r.trained for r in reused.results]
    assert whole.results[0].best_score == reused.results[0].best_score
    for trainer in (whole, reused):
        trainer.load_stage("head")
    for name, tensor in whole.model.state_dict().items():
        torch.testing.assert_close(reused.model.state_dict()[name], tensor, rtol=0, atol=1e-5)


def test_augmentation_turns_reuse_off_and_is_told(arguments, images, caplog):
    def augmented(examples):
        batch = collate(examples)
        return batch | {"pixel_values": batch["pixel_values"] + torch.randn(1)}

    trainer = trainer_of(Trainer, arguments(), images, data_collator=augmented)
    freeze(trainer.model, "backbone")
    seen = count_passes(trainer.model)
    with caplog.at_level(logging.WARNING), on_features(trainer):
        trainer.train()
    assert "an example gives other inputs each time" in caplog.text
    assert sum(seen) == 2 * len(images)


def test_an_example_that_cannot_be_read_is_told_before_any_training(arguments, images):
    class Torn(TensorDataset):
        def __getitem__(self, index):
            if index == len(self) - 1:
                raise InputError("cat.jpg is torn.")
            return super().__getitem__(index)

    trainer = trainer_of(Trainer, arguments(), Torn(*images.tensors))
    freeze(trainer.model, "backbone")
    with pytest.raises(InputError, match=r"cat\.jpg is torn"), on_features(trainer):
        pytest.fail("it would have trained")


def test_features_that_are_in_the_cache_are_had_without_running_the_model(
    convnet, images, tmp_path
):
    cache = tmp_path / "features.safetensors"
    first = compute_features(convnet, images, collate, cache)
    seen = count_passes(convnet)
    again = compute_features(convnet, images, collate, cache)
    assert torch.equal(again.columns["features"], first.columns["features"])
    assert seen == []


def test_a_base_that_is_trained_has_no_features_to_reuse(arguments, images):
    trainer = trainer_of(Trainer, arguments(), images)
    freeze(trainer.model, "blocks.0")
    with pytest.raises(InputError, match="but stem is trained"), on_features(trainer):
        trainer.train()


def test_what_the_model_computes_between_its_layers_it_computes_on_features_too(arguments, images):
    def run(reuse):
        trainer = trainer_of(Trainer, arguments(), images)
        freeze(trainer.model, "stem, blocks.0")  # their maps are averaged in between
        seen = count_passes(trainer.model)
        with on_features(trainer) if reuse else nullcontext():
            trainer.train()
        return trainer.model.state_dict(), sum(seen)

    (whole, _), (reused, seen) = run(False), run(True)
    for name, tensor in whole.items():
        torch.testing.assert_close(reused[name], tensor, rtol=0, atol=1e-5)
    assert seen <= 2 * len(images) + TRIED


def test_features_beyond_memory_go_to_disk_and_lead_to_the_same_head(
    arguments, images, monkeypatch
):
    def run(available):
        memory = psutil.virtual_memory()._replace(available=available)
        monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
        trainer = trainer_of(Trainer, arguments(), images)
        freeze(trainer.model, "backbone")
        with on_features(trainer):
            on_disk = trainer.train_dataset._pages is not None
            trainer.train()
        return on_disk, trainer.model.head.weight

    in_memory, on_disk = run(10_000), run(1_000)  # 24 vectors of 8 numbers are 768 bytes
    assert (in_memory[0], on_disk[0]) == (False, True)
    assert torch.equal(in_memory[1], on_disk[1])


def test_features_beyond_memory_and_disk_are_not_stored(arguments, images, caplog, monkeypatch):
    memory = psutil.virtual_memory()._replace(available=2_000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1_600))
    trainer = trainer_of(Trainer, arguments(), images)
    freeze(trainer.model, "backbone")
    with caplog.at_level(logging.WARNING), on_features(trainer):
        trainer.train()
    assert "GB of memory" not in caplog.text  # 48 vectors of 8 numbers are 1,536 bytes
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1_500))
    with caplog.at_level(logging.WARNING), on_features(trainer):
        trainer.train()
    assert "GB of memory or disk" in caplog.text


@pytest.mark.parametrize("trained", ["backbone[-1:], head", "backbone[-2:], head"])
def test_top_layers_trained_on_features_are_those_trained_within_the_model(
    trained, arguments, resnet_and_photos
):
    model, photos = resnet_and_photos
    stages = [
        Stage("head", train="head", epochs=1, learning_rate=0.05),
        Stage("top", train=trained, epochs=3, learning_rate=0.01, layer_decay=0.5),
    ]

    def run(reuse):
        own = copy.deepcopy(model)
        seen = []
        count_computed(own.resnet.embedder, seen)
        args = arguments(metric_for_best_model="loss")
        options = {"train_dataset": photos, "eval_dataset": photos, "data_collator": collate}
        trainer = StagedTrainer(
            own, args, stages, compute_metrics=accuracy, reuse_features=reuse, **options
        )
        trainer.train()
        return trainer, sum(seen)

    (whole, whole_seen), (reused, seen) = run(False), run(True)
    assert whole.results[1].best_epoch == reused.results[1].best_epoch > 0
    assert whole_seen == (1 + 3) * 2 * len(photos) + len(photos)  # scored before it is tuned
    assert seen <= 2 * (2 * len(photos) + TRIED)  # once in each stage
    for name, tensor in whole.model.state_dict().items():
        torch.testing.assert_close(reused.model.state_dict()[name], tensor, rtol=0, atol=1e-4)
    changed = [
        name
        for name, tensor in model.state_dict().items()
        if not torch.equal(tensor, reused.model.state_dict()[name])
    ]
    assert any("running_mean" in name for name in changed)  # of the layers that were trained
    assert not any("embedder" in name or "stages.0" in name for name in changed)


def test_a_head_that_takes_more_than_features_is_refused(convnet):
    class TwoHanded(ConvNet):
        def forward(self, pixel_values, labels=None):
            output = super().forward(pixel_values, labels)
            return output | {"logits": output["logits"] + pixel_values.mean()}

    with pytest.raises(InputError, match="does not compute the model's logits"):
        FeatureHead(TwoHanded(), BATCHES["convnet"])


def test_the_name_of_features_changes_with_a_weight_or_the_data_but_not_with_the_head(convnet):
    key = features_key(convnet, "data", "224 pixels")
    assert key == features_key(convnet, "data", "224 pixels")
    assert key != features_key(convnet, "data", "192 pixels")
    assert key != features_key(convnet, "other data", "224 pixels")
    with torch.no_grad():
        convnet.head.weight[0, 0] += 1
        assert key == features_key(convnet, "data", "224 pixels")
        convnet.norm.running_mean[0] += 1e-3
        changed = features_key(convnet, "data", "224 pixels")
        assert key != changed
        convnet.blocks[1][0].weight[0, 0, 0, 0] += 1e-3
        assert changed != features_key(convnet, "data", "224 pixels")


def test_features_are_kept_for_other_runs_on_the_same_base_and_data(arguments, images, tmp_path):
    def run(pixels):
        data = Dataset.from_dict(
            {"pixel_values": pixels.tolist(), "labels": images.tensors[1].tolist()}
        ).with_format("torch")
        options = {"train_dataset": data, "eval_dataset": None, "data_collator": None}
        trainer = trainer_of(Trainer, arguments(), images, **options)
        freeze(trainer.model, "backbone")
        seen = count_passes(trainer.model)
        with on_features(trainer, tmp_path / "features"):
            trainer.train()
        return sum(seen)

    pixels = images.tensors[0]
    assert run(pixels) >= len(images)
    assert run(pixels) <= TRIED
    changed = pixels.clone()
    changed[7, 0, 0, 0] += 0.1
    assert run(changed) >= len(images)
    assert len(list((tmp_path / "features").glob("*.safetensors"))) == 2


def test_features_are_in_the_order_of_the_data_and_free_of_dropout(convnet):
    pixels = torch.randn(10, 3, 16, 16)
    data = TensorDataset(pixels, torch.arange(10))
    features = compute_features(convnet.train(), data, collate)
    assert convnet.training
    assert features.columns["labels"].tolist() == list(range(10))
    with torch.no_grad():
        expected = convnet.eval().features(pixels)
    torch.testing.assert_close(features.columns["features"], expected)


def test_the_structure_of_a_model_is_looked_at_as_often_for_much_data_as_for_little(
    convnet, monkeypatch
):
    looked: list[nn.Module] = []

    def counted(model):
        looked.append(model)
        return layer_groups(model)

    monkeypatch.setattr("staged_training.features.head.layer_groups", counted)
    compute_features(convnet, numbered(4), collate)
    for_little = len(looked)
    looked.clear()
    compute_features(convnet, numbered(100), collate)
    assert len(looked) == for_little > 0


class Shortcut(nn.Module):
    """A block whose shortcut is a stack of layers, and no longer is one when it is folded."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(4, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.shortcut = nn.Sequential(nn.Conv2d(4, 8, 1), nn.BatchNorm2d(8))

    def forward(self, maps):
        return self.second(self.first(maps)) + self.shortcut(maps)


def test_features_are_those_of_a_layer_though_its_folded_copy_has_other_groups(convnet):
    convnet.blocks = Shortcut()
    convnet.eval()
    pixels = torch.randn(10, 3, 16, 16)
    data = TensorDataset(pixels, torch.arange(10))
    head = len(layer_groups(convnet)) - 1
    features = compute_features(convnet, data, collate, first_group=head)
    with torch.no_grad():
        expected = convnet.features(pixels)
    torch.testing.assert_close(features.columns["features"], expected)


def numbered(count):
    """Images whose first pixel tells their number."""
    pixels = torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    return TensorDataset(pixels, torch.arange(count))


def test_features_of_a_stream_are_those_of_the_data_and_it_is_read_once(convnet):
    data = numbered(600)  # more than are run before any is kept
    asked = []

    def stream():
        for row in range(len(data)):
            asked.append(row)
            yield data[row]

    of_stream = compute_features(convnet, stream(), collate)
    of_data = compute_features(convnet, data, collate)
    assert asked == list(range(600))
    assert of_stream.columns["labels"].tolist() == list(range(600))
    for name, column in of_data.columns.items():
        assert torch.equal(of_stream.columns[name], column), name


def test_a_stream_without_examples_is_refused(convnet):
    with pytest.raises(InputError, match="no example to compute features of"):
        compute_features(convnet, iter(()), collate)


def test_a_stream_is_trained_on_in_shuffled_order(arguments, images):
    class Stream(IterableDataset):
        def __iter__(self):
            return (images[row] for row in range(len(images)))

    def run(data):
        trainer = trainer_of(Trainer, arguments(max_steps=9), images, train_dataset=data)
        freeze(trainer.model, "backbone")
        seen = count_passes(trainer.model)
        with on_features(trainer):
            trainer.train()
        return trainer.model.head.weight, sum(seen)

    (of_data, _), (of_stream, seen) = run(images), run(Stream())
    assert torch.equal(of_data, of_stream)  # so in the order that was drawn for the data
    assert seen <= 2 * len(images) + TRIED


class TokenTagger(nn.Module):
    """An encoder with a head on the states of all its tokens."""

    def __init__(self, bert):
        super().__init__()
        self.bert = bert
        self.head = nn.Linear(16, 4)

    def forward(self, **inputs):
        return self.head(self.bert(**inputs).last_hidden_state)


def padded(examples):
    columns = {name: [torch.tensor(example[name]) for example in examples] for name in examples[0]}
    return {n: nn.utils.rnn.pad_sequence(v, batch_first=True) for n, v in columns.items()}


def test_features_of_texts_have_as_many_rows_as_tokens(bert, tmp_path):
    tagger = TokenTagger(bert.bert).eval()
    generator = torch.Generator().manual_seed(0)
    lengths = [7, 2, 9, 4, 3]
    ids = [torch.randint(1, 50, (length,), generator=generator).tolist() for length in lengths]
    data = Dataset.from_dict({"input_ids": ids, "attention_mask": [[1] * n for n in lengths]})
    cache = tmp_path / "features.safetensors"
    for features in (compute_features(tagger, data, padded, cache) for _ in range(2)):
        assert features.columns["features.lengths"].tolist() == lengths
        assert features.columns["features"].shape == (sum(lengths), 16)
        for row, own in enumerate(ids):
            alone = tagger.bert(torch.tensor([own])).last_hidden_state[0]
            torch.testing.assert_close(features[row]["features"], alone, rtol=0, atol=1e-5)
    of_stream = compute_features(tagger, data.to_iterable_dataset(), padded)
    assert torch.equal(of_stream.columns["features"], features.columns["features"])
    chosen = features.rows([4, 0])
    assert torch.equal(chosen[1]["features"], features[0]["features"])
    batch = collate_features([chosen[0], chosen[1]])["features"]
    assert batch.shape == (2, 7, 16)
    assert not batch[0, 3:].any()
