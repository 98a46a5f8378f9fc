"""Recurrent models: like any other model of `transformers`, and blind to padding."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, set_seed

from nlp_transfer.models import RecurrentConfig, RecurrentForSequenceClassification
from nlp_transfer.models.recurrent_layers import GRU, run_layer
from staged_training import layer_groups

IDS = torch.tensor([[5, 3, 9, 2, 7], [4, 8, 0, 0, 0], [6, 6, 2, 0, 0]])


def model(**options):
    set_seed(0)
    config = RecurrentConfig(vocab_size=12, embedding_size=6, hidden_size=4, **options)
    return RecurrentForSequenceClassification(config).eval()


every_shape = pytest.mark.parametrize(
    "options",
    [
        {"cell": "gru"},
        {"cell": "lstm"},
        {"cell": "lstm", "num_hidden_layers": 1},
        {"cell": "gru", "bidirectional": False, "pooling": ["last"]},
        {"cell": "gru", "pooling": ["mean", "max"]},
        {"cell": "gru", "embedding_pooling": []},
        {"cell": "lstm", "separate_directions": True, "pooling": ["last", "max"]},
    ],
)


@every_shape
def test_padding_does_not_change_the_logits(options):
    padded = model(**options)(IDS, (IDS != 0).long()).logits
    for row, logits in zip(IDS, padded, strict=True):
        alone = model(**options)(row[row != 0].unsqueeze(0)).logits[0]
        torch.testing.assert_close(logits, alone, rtol=1e-5, atol=1e-6)


@every_shape
def test_a_text_without_words_is_one_token_of_padding(options):
    nothing = torch.zeros(2, 0)  # float, as tokenizers make it
    padded = model(**options)(torch.zeros(2, 1).long(), torch.zeros(2, 1).long()).logits
    assert torch.equal(model(**options)(nothing, nothing).logits, padded)


@every_shape
def test_a_saved_model_loads_through_the_auto_classes(options, tmp_path):
    saved = model(**options)
    saved.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert type(loaded) is RecurrentForSequenceClassification
    assert torch.equal(loaded(IDS).logits, saved(IDS).logits)
    base = AutoModel.from_pretrained(tmp_path)
    assert torch.equal(base(IDS).pooler_output, saved.recurrent(IDS).pooler_output)
    assert AutoConfig.from_pretrained(tmp_path).to_dict() == loaded.config.to_dict()


def test_features_are_pooled_from_real_tokens_only():
    classifier = model(pooling=["mean", "max", "last"])
    output = classifier.recurrent(IDS)
    states = output.last_hidden_state[1, :2]
    words = classifier.get_input_embeddings()(IDS[1, :2])
    expected = [
        states.mean(0),
        states.amax(0),
        torch.cat([states[-1, :4], states[0, 4:]]),
        words.mean(0),
        words.amax(0),
    ]
    torch.testing.assert_close(output.pooler_output[1], torch.cat(expected))


texts_of_two_words_or_more = st.lists(st.integers(1, 11), min_size=2, max_size=8)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@settings(max_examples=40)
@given(text=texts_of_two_words_or_more, data=st.data())
def test_separate_directions_never_see_what_lies_on_their_other_side(cell, text, data):
    base = model(cell=cell, separate_directions=True, num_hidden_layers=3).recurrent
    cut = data.draw(st.integers(1, len(text) - 1))
    other = data.draw(st.lists(st.integers(1, 11), min_size=cut, max_size=cut))
    padding = [0] * data.draw(st.integers(0, 2))
    states, before, after = (
        base(torch.tensor([words + padding])).last_hidden_state[0]
        for words in (text, other + text[cut:], text[:-cut] + other)
    )
    kept = len(text) - cut
    torch.testing.assert_close(after[:kept, :4], states[:kept, :4])
    torch.testing.assert_close(before[cut:, 4:], states[cut:, 4:])


def test_mixed_directions_do_see_both_sides():
    base = model().recurrent
    changed = IDS[:1].clone()
    changed[0, -1] = 11
    states, others = (base(ids).last_hidden_state[0] for ids in (IDS[:1], changed))
    assert not torch.allclose(states[0, :4], others[0, :4])


def test_the_last_state_of_a_separate_backward_direction_is_that_of_the_first_token():
    classifier = model(separate_directions=True, pooling=["last"], embedding_pooling=[])
    output = classifier.recurrent(IDS)
    states = output.last_hidden_state[1, :2]
    torch.testing.assert_close(output.pooler_output[1], torch.cat([states[1, :4], states[0, 4:]]))


@pytest.mark.parametrize("bidirectional", [True, False])
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=6), reads=st.booleans())
@settings(deadline=None, max_examples=25)
def test_a_layer_that_trains_computes_what_that_of_torch_does(bidirectional, lengths, reads):
    torch.manual_seed(0)
    ours = GRU(5, 4, batch_first=True, bidirectional=bidirectional)
    theirs = torch.nn.GRU(5, 4, batch_first=True, bidirectional=bidirectional)
    theirs.load_state_dict(ours.state_dict())
    inputs = torch.randn(len(lengths), 1 + max(lengths), 5, requires_grad=reads)
    found = []
    for layer in (ours, theirs):
        states, last = run_layer(layer, inputs, torch.tensor(lengths))
        loss = (states * torch.linspace(-1, 1, states.numel()).view_as(states)).sum()
        learnt = [*layer.parameters(), *[inputs] * reads]
        found.append([states, last, *torch.autograd.grad(loss + last.square().sum(), learnt)])
    assert found[0][0].grad_fn.name() == "_ScanBackward"
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-5)


def test_a_layer_that_does_not_train_is_that_of_torch_to_the_bit():
    torch.manual_seed(0)
    ours, theirs = GRU(5, 4, batch_first=True), torch.nn.GRU(5, 4, batch_first=True)
    theirs.load_state_dict(ours.state_dict())
    inputs, lengths = torch.randn(3, 7, 5), torch.tensor([2, 7, 1])
    for found, expected in zip(
        run_layer(ours.eval(), inputs, lengths), run_layer(theirs, inputs, lengths), strict=True
    ):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("options", [{"num_layers": 2}, {"bias": False}])
def test_layers_with_other_weights_are_those_of_torch(options):
    ours, theirs = (kind(5, 4, batch_first=True, **options) for kind in (GRU, torch.nn.GRU))
    theirs.load_state_dict(ours.state_dict())
    inputs, lengths = torch.randn(2, 3, 5), torch.tensor([3, 1])
    found, expected = (run_layer(layer, inputs, lengths) for layer in (ours, theirs))
    torch.testing.assert_close(found, expected)


def test_a_text_without_words_gets_finite_logits():
    assert model()(torch.zeros(1, 3, dtype=torch.long)).logits.isfinite().all()


def test_its_layers_are_groups_from_the_embedding_up():
    groups = layer_groups(model())
    assert [group.name for group in groups] == ["embedding", "layers.0", "layers.1", "head"]
    # Dropout belongs to the layers that read what it leaves over: it is on while they train.
    assert set(groups[0].modules) == {"recurrent.embedding"}
    assert "recurrent.embedding_dropout" in groups[2].modules


def test_the_embedding_is_set_to_aligned_vectors():
    classifier, matrix = model(), torch.randn(12, 6)
    classifier.load_embedding(matrix)
    assert torch.equal(classifier.get_input_embeddings().weight, matrix)
    assert torch.equal(torch.from_numpy(classifier.embedding_matrix()), matrix)
    with pytest.raises(ValueError, match=r"vectors are \(12, 5\) and the embedding is \(12, 6\)"):
        classifier.load_embedding(torch.randn(12, 5))


def test_a_new_head_keeps_the_base_and_takes_new_labels(tmp_path):
    classifier = model()
    before = classifier.recurrent(IDS).pooler_output
    classifier.new_head(["non-urgent", "urgent", "spam"])
    assert torch.equal(classifier.recurrent(IDS).pooler_output, before)
    assert classifier(IDS).logits.shape == (3, 3)
    classifier.save_pretrained(tmp_path)
    loaded = RecurrentForSequenceClassification.from_pretrained(tmp_path)
    assert loaded.config.id2label == {0: "non-urgent", 1: "urgent", 2: "spam"}


def test_an_unknown_cell_or_pooling_is_refused():
    with pytest.raises(Exception, match="cell"):
        RecurrentConfig(cell="rnn")
    with pytest.raises(Exception, match="choose of mean, max, last"):
        RecurrentConfig(pooling=["median"])
    with pytest.raises(Exception, match="pooling is empty"):
        RecurrentConfig(pooling=[])
    with pytest.raises(Exception, match=r"embedding_pooling is \['last'\]; choose of mean, max"):
        RecurrentConfig(embedding_pooling=["last"])
