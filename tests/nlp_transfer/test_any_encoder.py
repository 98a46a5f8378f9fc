"""Encoders of many architectures as the base of a classifier: they work, or are refused at once."""

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from nlp_transfer import build_vocabulary
from nlp_transfer.encoder_classifier import _lower_layers, load_encoder_classifier
from staged_training import InputError, freeze
from tests.architectures.configs import small_config

NAMES = ["calm", "urgent"]
TEXTS = ["a b c " * 60, "b c a a"]
ARCHITECTURES = [
    *("bart", "bert", "deberta-v2", "distilbert", "gemma3_text", "gpt2", "gpt_neo", "modernbert"),
    *("mpnet", "qwen3", "roberta", "squeezebert", "t5", "xlnet"),
]


def saved(folder, model_type, padding="[PAD]", dtype=torch.float32, **options):
    """A folder with a small encoder, and a tokenizer that states no limit."""
    config = small_config(model_type, **options)
    torch.manual_seed(0)
    AutoModel.from_config(config).to(dtype).save_pretrained(folder)
    words = [chr(letter) for letter in range(ord("a"), ord("z"))]
    tokenizer = build_vocabulary([" ".join(words)], min_frequency=1, max_length=int(1e30))
    tokenizer.pad_token = padding
    tokenizer.save_pretrained(folder)
    return folder


def logits(model, tokenizer, texts=TEXTS):
    with torch.no_grad():
        return model(**tokenizer(texts, padding=True, return_tensors="pt")).logits


@pytest.mark.parametrize(
    ("model_type", "head"),
    [
        *((model_type, "convolution") for model_type in ARCHITECTURES),
        *((model_type, "linear") for model_type in ("deberta-v2", "gpt2", "t5", "xlnet")),
    ],
)
def test_a_cut_encoder_trains_and_gives_the_same_when_loaded_again(model_type, head, tmp_path):
    folder = saved(tmp_path, model_type)
    model, tokenizer = load_encoder_classifier(folder, NAMES, seed=0, head=head)
    together = logits(model, tokenizer)
    torch.testing.assert_close(logits(model, tokenizer, TEXTS[1:])[0], together[1])
    model.save_pretrained(tmp_path / "out")
    tokenizer.save_pretrained(tmp_path / "out")
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    assert torch.equal(logits(again, AutoTokenizer.from_pretrained(tmp_path / "out")), together)
    freeze(model, "head")
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    model.train()(**batch, labels=torch.tensor([0, 1])).loss.backward()
    assert any(p.grad is not None and p.grad.any() for p in model.encoder.parameters())


@pytest.mark.parametrize("model_type", ["bert", "gpt2", "modernbert", "qwen3", "t5", "xlnet"])
def test_below_its_top_a_cut_encoder_gives_what_the_whole_one_gives(model_type, tmp_path):
    whole = AutoModel.from_pretrained(saved(tmp_path, model_type)).eval()
    whole = whole.get_encoder() if model_type == "t5" else whole
    model, tokenizer = load_encoder_classifier(tmp_path, NAMES, seed=0, layers=[0, 2])
    batch = tokenizer(TEXTS[1:], return_tensors="pt")
    with torch.no_grad():
        expected = whole(**batch, output_hidden_states=True).hidden_states
        found = model.encoder(**batch, output_hidden_states=True).hidden_states
    assert (len(expected), len(found)) == (4, 3)
    assert all(map(torch.equal, found[:2], expected))


@pytest.mark.parametrize(
    ("model_type", "window"),
    [("bert", 128), ("roberta", 126), ("xlm-roberta", 126), ("mpnet", 126), ("xlnet", 512)],
)
def test_a_tokenizer_without_limit_is_limited_by_what_the_model_takes(model_type, window, tmp_path):
    model, tokenizer = load_encoder_classifier(saved(tmp_path, model_type), NAMES, seed=0)
    assert model.config.window == window
    for tokens in (window - 1, window, window + 1, 2 * window):
        assert logits(model, tokenizer, ["a " * tokens, "b"]).isfinite().all()


def test_a_decoder_without_a_padding_token_pads_with_another(tmp_path):
    folder = saved(tmp_path, "gpt2", padding=None, pad_token_id=None)
    assert AutoTokenizer.from_pretrained(folder).pad_token is None
    model, tokenizer = load_encoder_classifier(folder, NAMES, seed=0)
    assert (tokenizer.pad_token, tokenizer.padding_side) == ("[UNK]", "right")
    together = logits(model, tokenizer)
    torch.testing.assert_close(logits(model, tokenizer, TEXTS[1:])[0], together[1])


def test_of_an_encoder_of_one_layer_both_states_are_read(tmp_path):
    model, _ = load_encoder_classifier(saved(tmp_path, "bert", num_hidden_layers=1), NAMES, seed=0)
    assert model.config.layers == [0, 1]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_of_half_precision_are_read_in_full(dtype, tmp_path):
    model, tokenizer = load_encoder_classifier(saved(tmp_path, "qwen3", dtype=dtype), NAMES, seed=0)
    assert {tensor.dtype for tensor in model.parameters()} == {torch.float32}
    model.save_pretrained(tmp_path / "out")
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    assert torch.equal(logits(again, tokenizer), logits(model, tokenizer))


@pytest.mark.parametrize("model_type", ["fsmt", "vit", "whisper"])
def test_what_cannot_read_texts_is_refused_at_once_with_the_reason(model_type, tmp_path):
    folder = saved(tmp_path, model_type)
    with pytest.raises(InputError, match=r"tokens and a short one were tried \(\S.*\)\. Give ano"):
        load_encoder_classifier(folder, NAMES, seed=0)


def test_an_encoder_that_sees_padding_is_told(tmp_path, caplog):
    load_encoder_classifier(saved(tmp_path, "fnet"), NAMES, seed=0)
    assert "features of a text depend on its padding" in caplog.text


def test_what_is_listed_layer_by_layer_is_cut_alike():
    qwen = AutoConfig.for_model("qwen3", num_hidden_layers=6)
    assert len(_lower_layers(qwen, 4).layer_types) == 4
    smol = AutoConfig.for_model("smollm3", num_hidden_layers=8)
    assert _lower_layers(smol, 4).no_rope_layers == smol.no_rope_layers[:4]
    windows = AutoConfig.for_model("longformer", num_hidden_layers=3, attention_window=[2, 4, 8])
    assert _lower_layers(windows, 2).attention_window == [2, 4]
    gemma = AutoConfig.for_model("gemma3n_text")  # the topmost 15 of 35 share keys and values
    assert _lower_layers(gemma, 22).num_kv_shared_layers == 2
    assert _lower_layers(gemma, 10).num_kv_shared_layers == 0


def test_what_is_no_list_of_layers_stays_whole():
    options = {"num_hidden_layers": 2, "pos_att_type": ["p2c", "c2p"]}
    deberta = AutoConfig.for_model("deberta-v2", **options)
    assert _lower_layers(deberta, 1).pos_att_type == ["p2c", "c2p"]
    hybrid = small_config("olmo_hybrid")  # the lowest of its layers alone make no model
    assert _lower_layers(hybrid, 1).layer_types == hybrid.layer_types
