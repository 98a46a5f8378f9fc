"""An exported model gives the logits of the model, for every size of batch and length of text."""

import numpy as np
import pytest
import torch

from nlp_transfer.models import (
    ConvHeadConfig,
    ConvHeadForSequenceClassification,
    PooledHeadConfig,
    PooledHeadForSequenceClassification,
    RecurrentConfig,
    RecurrentForSequenceClassification,
)
from staged_training import InputError
from staged_training.reporting import onnx_export
from staged_training.reporting.onnx_export import export_onnx


def texts(*lengths):
    """Texts of random words, as a tokenizer hands them on."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1, 50, (len(lengths), max(lengths)), generator=generator)
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)).long()
    return {"input_ids": ids * mask, "attention_mask": mask}


def recurrent(**options):
    torch.manual_seed(0)
    config = RecurrentConfig(vocab_size=50, embedding_size=8, hidden_size=8, **options)
    return RecurrentForSequenceClassification(config)


@pytest.fixture
def models(bert, resnet):
    return {
        "gru": recurrent(),
        "lstm, all pooling": recurrent(cell="lstm", pooling=["mean", "max", "last"]),
        "separate directions": recurrent(separate_directions=True),
        "bert": bert,
        "resnet": resnet,
    }


@pytest.mark.parametrize("name", ["gru", "lstm, all pooling", "separate directions", "bert"])
def test_a_text_model_gives_the_same_logits(name, models, tmp_path):
    import onnxruntime

    model, file = models[name], tmp_path / "model.onnx"
    batches = [texts(7, 3, 12), texts(5)]
    exported = export_onnx(model, batches, file)
    assert exported.difference < 1e-5
    assert all(milliseconds > 0 for milliseconds in exported.milliseconds.values())
    session = onnxruntime.InferenceSession(file)
    unseen = texts(1, 30, 4, 4, 2)
    (found,) = session.run(None, {name: tensor.numpy() for name, tensor in unseen.items()})
    with torch.no_grad():
        np.testing.assert_allclose(found, model.eval()(**unseen).logits, atol=1e-5)


@pytest.mark.parametrize("head", ["convolution", "linear"])
def test_an_encoder_that_reads_window_by_window_gives_the_same_logits(head, tmp_path):
    import onnxruntime

    torch.manual_seed(0)
    encoder = {
        "model_type": "bert",
        "vocab_size": 50,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "max_position_embeddings": 10,
    }
    if head == "linear":
        config = PooledHeadConfig(encoder, layers=[0, 1], window=10)
        model = PooledHeadForSequenceClassification(config)
    else:
        config = ConvHeadConfig(encoder, layers=[0, 1], window=10, filters=4)
        model = ConvHeadForSequenceClassification(config)
    file = tmp_path / "model.onnx"
    assert export_onnx(model, [texts(7, 3, 24), texts(5)], file).difference < 1e-5
    session = onnxruntime.InferenceSession(file)
    for unseen in (texts(1, 2), texts(10), texts(11, 35, 4), texts(3, 20, 3, 3)):
        (found,) = session.run(None, {name: tensor.numpy() for name, tensor in unseen.items()})
        with torch.no_grad():
            np.testing.assert_allclose(found, model.eval()(**unseen).logits, atol=1e-5)


def test_an_image_model_gives_the_same_logits(models, tmp_path):
    batches = [{"pixel_values": torch.randn(n, 3, 32, 32)} for n in (3, 1)]
    assert export_onnx(models["resnet"], batches, tmp_path / "model.onnx").difference < 1e-5


def test_a_file_whose_logits_differ_is_not_written(monkeypatch, models, tmp_path):
    monkeypatch.setattr(onnx_export, "TOLERANCE", 0.0)
    with pytest.raises(InputError, match="was not written"):
        export_onnx(models["gru"], [texts(7, 3), texts(5)], tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
