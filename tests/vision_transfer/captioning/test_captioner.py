"""A captioner reads words beside an image, learns in stages, and says what it sees."""

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    ResNetConfig,
    ResNetForImageClassification,
    TrainingArguments,
    default_data_collator,
    pipeline,
)

from staged_training import Stage, StagedTrainer
from staged_training.features.extraction import compute_features
from staged_training.features.head import FeatureHead
from staged_training.features.store import FeatureDataset
from vision_transfer.backbones import load_backbone, untrained_backbone
from vision_transfer.captioning.captioner import (
    CaptionPairs,
    caption_labels,
    caption_processor,
    captions_of,
    new_captioner,
    save_captioner,
    set_generation,
)
from vision_transfer.captioning.metrics import cider_of_each, most_common_caption
from vision_transfer.captioning.training import BESIDE_EMBEDDING, PRETRAINED
from vision_transfer.preprocessing import check_preprocessing

NO_DROPOUT = {"feature_dropout": 0.0, "embedding_dropout": 0.0, "output_dropout": 0.0}
BOTH = pytest.mark.parametrize("attention", [False, True])


class Pixels(torch.utils.data.Dataset):
    def __init__(self, pixels):
        self.pixels = pixels

    def __len__(self):
        return len(self.pixels)

    def __getitem__(self, index):
        return {"pixel_values": self.pixels[index]}


def staged(model, train, folder, *, epochs=(25, 3), **options):
    """Train the decoder on a frozen embedding, then both."""
    stages = [
        Stage("decoder", train=BESIDE_EMBEDDING, epochs=epochs[0], learning_rate=1e-2),
        Stage("embedding", train="head", epochs=epochs[1], learning_rate=1e-3),
    ]
    arguments = TrainingArguments(
        str(folder), per_device_train_batch_size=16, disable_tqdm=True, report_to="none",
        use_cpu=True, remove_unused_columns=False,
    )  # fmt: skip
    options = {"pretrained": PRETRAINED, "data_collator": default_data_collator} | options
    trainer = StagedTrainer(model, arguments, stages, train_dataset=train, **options)
    trainer.train()
    return trainer


@pytest.fixture(scope="module")
def learnt(tmp_path_factory, pictures, vocabulary):
    """A captioner that learnt the pictures, its processor, and the features of the pictures."""
    encoder, images = load_backbone("efficientnet-lite0", ["one", "two"])
    random = np.random.default_rng(0).normal(0, 0.5, (len(vocabulary), 16)).astype(np.float32)
    random[vocabulary.pad_token_id] = 0
    model = new_captioner(encoder, vocabulary, random, hidden_size=64, output_dropout=0.1)
    set_generation(model, longest=12, num_beams=3)
    processor = caption_processor(images, vocabulary)
    pixels = processor(images=pictures[0], text=[""] * 24, return_tensors="pt")["pixel_values"]
    features = compute_features(model, Pixels(pixels), default_data_collator)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    train = CaptionPairs(features, pictures[1], vocabulary)
    trainer = staged(model, train, tmp_path_factory.mktemp("captioner"))
    return model.eval(), processor, features, before, trainer


@BOTH
def test_a_word_is_scored_by_those_before_it_alone(attention, captioner, pixels, vocabulary):
    model, _ = captioner(attention=attention)
    labels = caption_labels(vocabulary, ["a red square on the left", "a red square on the right"])
    assert labels[0, -1] == vocabulary.eos_token_id
    same = pixels[:1].expand(2, -1, -1, -1)
    logits = model(pixel_values=same, labels=labels).logits
    torch.testing.assert_close(logits[0, :6], logits[1, :6])
    assert not torch.allclose(logits[0, 6], logits[1, 6])
    again = model(pixel_values=same, input_ids=model.decoder._before(labels)).logits
    torch.testing.assert_close(again, logits)


@BOTH
def test_generate_looks_at_each_image_once(attention, captioner, pixels):
    model, _ = captioner(attention=attention)
    seen = []
    model.encoder.timm_model.conv1.register_forward_pre_hook(
        lambda _, inputs: seen.append(len(inputs[0]))
    )
    greedy, beams = (model.generate(pixel_values=pixels[:5], num_beams=n) for n in (1, 4))
    assert seen == [5, 5]
    assert (greedy[:, 0] == model.config.bos_token_id).all() and len(beams) == 5
    features = model.features(pixels[:5])
    assert torch.equal(model.generate(features=features, num_beams=4), beams)

    def likelihood(words):
        scores = model(features=features, input_ids=words[:, :-1]).logits.log_softmax(-1)
        scores[..., [0, 1, model.config.bos_token_id]] = -torch.inf
        counted = words[:, 1:] != model.config.pad_token_id
        return (scores.log_softmax(-1).gather(-1, words[:, 1:, None])[..., 0] * counted).sum(1)

    assert not {0, 1} & set(greedy[:, 1:][greedy[:, 1:] != 0].tolist())
    if greedy.shape == beams.shape:  # of one length, beams find what is at least as likely
        assert (likelihood(beams) >= likelihood(greedy) - 1e-4).all()


@BOTH
def test_prompts_of_different_lengths_go_on_as_each_alone(attention, captioner, pictures):
    model, processor = captioner(attention=attention)
    images, prompts = pictures[0][:2], ["a red", "on the left there is"]
    both = processor(images=images, text=prompts, return_tensors="pt", padding=True)
    assert both["attention_mask"][0].tolist() == [0, 0, 0, 1, 1, 1]
    together = model.generate(**both)[:, 6:]
    for row, (image, prompt) in enumerate(zip(images, prompts, strict=True)):
        one = processor(images=image, text=prompt, return_tensors="pt")
        said = model.generate(**one)[0, one["input_ids"].shape[1] :]
        assert torch.equal(together[row, : len(said)], said)


def test_words_outside_the_vocabulary_are_read_and_not_learnt_to_be_said(
    captioner, pixels, vocabulary
):
    model, _ = captioner()
    known, unknown = (
        caption_labels(vocabulary, [text]) for text in ("a red square", "a purple square")
    )
    assert unknown[0, 1] == vocabulary.unk_token_id
    losses = [model(pixel_values=pixels[:1], labels=labels).loss for labels in (known, unknown)]
    assert losses[0] != losses[1]
    logits = model(pixel_values=pixels[:1], labels=unknown).logits[0]
    counted = torch.tensor([0, 2, 3])
    expected = torch.nn.functional.cross_entropy(logits[counted], unknown[0, counted])
    torch.testing.assert_close(losses[1], expected)


def test_the_decoder_trains_on_features_as_on_the_whole_model(
    captioner, pixels, vocabulary, pictures, tmp_path
):
    pairs = CaptionPairs(Pixels(pixels), pictures[1], vocabulary)
    assert len(pairs) == 48 and torch.equal(pairs[3]["pixel_values"], pixels[1])
    weights = []
    for reuse in (False, True):
        model, _ = captioner(attention=True, **NO_DROPOUT)
        staged(model, pairs, tmp_path / str(reuse), epochs=(1, 1), reuse_features=reuse)
        weights.append(model.state_dict())
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=0, atol=1e-4)
    model, _ = captioner(attention=False)
    FeatureHead(model, default_data_collator([pairs[0], pairs[1]]))  # checks logits and loss


def test_a_frozen_embedding_and_the_row_of_padding_do_not_move(learnt):
    model, _, _, before, trainer = learnt
    name = "decoder.embedding.weight"
    trained = model.state_dict()[name].clone()
    decoder, embedding = trainer.results
    assert embedding.trainable_parameters - decoder.trainable_parameters == trained.numel()
    assert not torch.equal(trained, before[name])
    assert not trained[model.config.pad_token_id].any()
    trainer.load_stage("decoder")
    assert torch.equal(model.state_dict()[name], before[name])
    changed = {n for n, tensor in model.state_dict().items() if not torch.equal(tensor, before[n])}
    assert changed and all(n.startswith("decoder.") for n in changed)
    trainer.load_stage("embedding")


def test_it_learns_to_say_what_it_sees_and_without_features_says_the_same_of_all(
    learnt, pictures, vocabulary
):
    model, _, features, *_ = learnt
    said = captions_of(model, features, vocabulary)
    assert np.mean([text in true for text, true in zip(said, pictures[1], strict=True)]) > 0.9
    nothing = FeatureDataset({"features": torch.zeros_like(features.columns["features"])})
    blind = captions_of(model, nothing, vocabulary)
    assert len(set(blind)) == 1
    common = [most_common_caption(pictures[1])] * 24
    scores = {
        name: cider_of_each(texts, pictures[1]).mean()
        for name, texts in {"seen": said, "blind": blind, "common": common}.items()
    }
    assert scores["seen"] > 2 * scores["blind"]
    assert scores["blind"] < 1.2 * scores["common"]


def test_a_saved_captioner_says_the_same_and_runs_in_a_pipeline(
    learnt, pictures, vocabulary, tmp_path, capfd
):
    model, processor, features, *_ = learnt
    save_captioner(model, processor, tmp_path / "model")
    said = captions_of(model, features, vocabulary)
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path / "model")
    assert captions_of(loaded, features, vocabulary) == said
    assert loaded.generation_config.num_beams == 3
    inputs = AutoProcessor.from_pretrained(tmp_path / "model")(
        images=pictures[0], text=[""] * 24, return_tensors="pt"
    )
    words = loaded.generate(**inputs)
    assert vocabulary.batch_decode(words, skip_special_tokens=True) == said
    describe = pipeline("image-text-to-text", model=str(tmp_path / "model"))
    (result,) = describe(pictures[0][0], text="")
    assert result["generated_text"] == said[0]
    assert "is not supported" not in capfd.readouterr().err
    begun = describe(pictures[0][:2], text=["on the", "a"])
    assert begun[0]["generated_text"].startswith("on the")


@pytest.mark.parametrize("of_timm", [True, False])
def test_the_cells_of_a_map_are_features_for_attention(of_timm, vocabulary, pixels):
    if of_timm:
        encoder, _ = untrained_backbone("test_resnet", ["one", "two"], 32, output_stride=16)
    else:
        sizes = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "num_labels": 2}
        encoder = ResNetForImageClassification(ResNetConfig(**sizes))
    embedding = np.zeros((len(vocabulary), 4), np.float32)
    model = new_captioner(encoder, vocabulary, embedding, attention=True, hidden_size=8).eval()
    cells = model.features(pixels[:2])
    assert cells.shape == (2, cells.shape[1], model.config.feature_size) and cells.shape[1] > 1
    pooled = new_captioner(encoder, vocabulary, embedding, hidden_size=8).eval()
    torch.testing.assert_close(pooled.features(pixels[:2]), cells.mean(1), rtol=0, atol=1e-5)


def test_attention_takes_a_mean_of_the_cells_that_follows_the_state(captioner):
    model, _ = captioner(attention=True)
    attention = model.decoder.attention
    cells = torch.randn(1, 6, 24).expand(2, -1, -1)
    states = torch.randn(2, 32) * 10
    context = attention(cells, attention.of_cell(cells), states)
    assert (context <= cells.amax(1) + 1e-6).all() and (context >= cells.amin(1) - 1e-6).all()
    assert not torch.allclose(context[0], context[1])
    torch.testing.assert_close(
        attention(cells[:, :1], attention.of_cell(cells[:, :1]), states), cells[:, 0]
    )


def test_the_processor_prepares_images_as_the_encoder_knows_them(vocabulary, tmp_path):
    _, of_timm = untrained_backbone("resnet18", ["one", "two"], 64)
    processor = caption_processor(of_timm, vocabulary)
    processor.save_pretrained(tmp_path)
    check_preprocessing(AutoProcessor.from_pretrained(tmp_path).image_processor, of_timm)


def test_an_embedding_of_another_vocabulary_is_refused(vocabulary):
    encoder, _ = untrained_backbone("test_resnet", ["one", "two"], 32)
    with pytest.raises(ValueError, match="The embedding has 3 rows and the vocabulary"):
        new_captioner(encoder, vocabulary, np.zeros((3, 4), np.float32))
