"""Recurrent language models: honest about what they predict, and handed on bit by bit."""

import math

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    pipeline,
    set_seed,
)

from nlp_transfer import align, build_vocabulary, open_vectors
from nlp_transfer.candidates import LanguageModelCandidate
from nlp_transfer.language_models.recurrent import (
    classifier_from,
    perplexity,
    train_recurrent_model,
)
from nlp_transfer.language_models.segments import SEGMENT, segments
from nlp_transfer.models import RecurrentConfig, RecurrentForCausalLM
from nlp_transfer.text_task import read_task
from nlp_transfer.vocabulary import add_bounds
from recipes.email_urgency import DATA
from staged_training import InputError

IDS = torch.tensor([[5, 3, 9, 2, 7], [4, 8, 6, 0, 0]])
SENTENCE = "the report that you sent me is not the report that i asked for"

every_kind = pytest.mark.parametrize(
    "options",
    [
        {"bidirectional": False},
        {"bidirectional": False, "cell": "lstm", "tie_word_embeddings": False},
        {"separate_directions": True},
    ],
    ids=["one direction", "untied lstm", "pair"],
)


def config(size=12, **options):
    return RecurrentConfig(vocab_size=size, embedding_size=6, hidden_size=8, **options)


def new_model(size=12, **options):
    set_seed(0)
    return RecurrentForCausalLM(config(size, **options)).eval()


@pytest.fixture(scope="module")
def messages():
    return pd.read_parquet(DATA / "messages.parquet")["text"].tolist()[:100]


@pytest.fixture(scope="module")
def tokenizer(messages):
    return build_vocabulary(messages, min_frequency=2)


@pytest.fixture(scope="module")
def parrot(tmp_path_factory):
    """The folder of a model that knows one sentence by heart."""
    folder = tmp_path_factory.mktemp("parrot") / "model"
    tokenizer = build_vocabulary([SENTENCE], min_frequency=1)
    shape = RecurrentConfig(
        vocab_size=len(tokenizer), embedding_size=16, hidden_size=32, separate_directions=True
    )
    train_recurrent_model([SENTENCE] * 320, tokenizer, shape, output_dir=folder, epochs=6)
    return folder


@every_kind
def test_the_loss_is_that_of_each_next_and_each_previous_real_word(options):
    model = new_model(**options)
    output = model(IDS, labels=IDS)
    ahead = torch.cat([output.logits[0, :4], output.logits[1, :2]])
    losses = [cross_entropy(ahead, torch.tensor([3, 9, 2, 7, 8, 6]))]
    if options.get("separate_directions"):
        states = model.recurrent(IDS).last_hidden_state[..., 8:]
        states = torch.cat([states[0, 1:], states[1, 1:3]])
        back = model.lm_head(model.projections[1](states))[:, 1:]  # never padding
        losses.append(cross_entropy(back, torch.tensor([5, 3, 9, 2, 4, 8]) - 1))
    torch.testing.assert_close(output.loss, torch.stack(losses).mean())
    torch.testing.assert_close(model.train(False)(IDS, labels=IDS).loss, output.loss)


@every_kind
def test_the_loss_knows_no_padding_on_either_side_and_skips_100(options):
    model = new_model(**options)
    loss = model(IDS[1:, :3], labels=IDS[1:, :3]).loss
    left = torch.tensor([[0, 0, 4, 8, 6]])
    for padded in (IDS[1:], left):
        torch.testing.assert_close(model(padded, labels=padded).loss, loss)
    torch.testing.assert_close(model(left).logits[:, 2:], model(IDS[1:]).logits[:, :3])
    labels = IDS.clone()
    labels[0] = -100
    torch.testing.assert_close(model(IDS, labels=labels).loss, loss)
    assert model(IDS[:, :1], labels=IDS[:, :1]).loss == 0  # one word: nothing to predict


@every_kind
def test_an_estimated_loss_sees_what_the_exact_one_does_and_only_in_training(options):
    def exact(states, output, words):
        scores = output(states)
        scores[:, 0] = -torch.inf
        return cross_entropy(scores, words)

    model = new_model(hidden_dropout=0.0, embedding_dropout=0.0, **options).train()
    expected = model(IDS, labels=IDS).loss
    model.estimated_loss = exact
    torch.testing.assert_close(model(IDS, labels=IDS).loss, expected)
    assert model(IDS[:, :1], labels=IDS[:, :1]).loss == 0  # one word: nothing to predict
    model.estimated_loss = lambda *_: torch.tensor(7.0)
    assert model(IDS, labels=IDS).loss == 7
    torch.testing.assert_close(model.eval()(IDS, labels=IDS).loss, expected)


def test_two_directions_that_read_each_other_are_no_language_model():
    with pytest.raises(ValueError, match="sees the words that it is to predict"):
        RecurrentForCausalLM(config())


@every_kind
def test_a_saved_model_loads_with_its_ties(options, tmp_path):
    saved = new_model(**options)
    saved.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(loaded) is RecurrentForCausalLM
    torch.testing.assert_close(loaded(IDS).logits, saved(IDS).logits)
    tied = options.get("tie_word_embeddings", True)
    assert (loaded.lm_head.weight is loaded.get_input_embeddings().weight) == tied
    assert (tmp_path / "modeling_recurrent_lm.py").exists()


@pytest.mark.parametrize("batch_size", [1, 3])
def test_it_writes_on_as_it_learnt(parrot, batch_size):
    write = pipeline("text-generation", model=str(parrot))
    prompts = ["the", "the report that you sent", "the report"]  # in a batch, padded on the left
    options = {"max_new_tokens": 4, "do_sample": False, "return_full_text": False}
    for prompt, (out,) in zip(
        prompts, write(prompts, batch_size=batch_size, **options), strict=True
    ):
        rest = SENTENCE.partition(prompt)[2].split()
        assert out["generated_text"] == " ".join(rest[:4])


def test_padding_stays_zero_in_the_tied_embedding_and_is_never_written(parrot):
    model = AutoModelForCausalLM.from_pretrained(parrot)
    assert not model.embedding_matrix()[0].any()
    assert model.embedding_matrix()[1:].any(axis=1).all()
    assert model(torch.tensor([[3, 4]])).logits[..., 0].isinf().all()


@settings(max_examples=30)
@given(st.lists(st.integers(0, 3 * SEGMENT), max_size=6))
def test_every_word_but_the_first_of_a_text_is_predicted_once(lengths):
    numbers = build_vocabulary([" ".join(map(str, range(3 * SEGMENT)))], min_frequency=1)
    texts = [" ".join(map(str, range(length))) for length in lengths]
    cut = list(segments(texts, numbers))
    assert all(2 <= len(ids) <= SEGMENT + 1 for ids in cut)
    predicted = [word for ids in cut for word in numbers.convert_ids_to_tokens(ids[1:])]
    assert predicted == [str(word) for length in lengths for word in range(1, length)]


def test_perplexity_is_over_words_and_not_over_batches(tokenizer, messages):
    model = new_model(len(tokenizer), bidirectional=False)
    ids = [torch.tensor([row]) for row in segments(messages, tokenizer)]
    losses = [cross_entropy(model(r).logits[0, :-1], r[0, 1:], reduction="sum") for r in ids]
    expected = math.exp(sum(loss.item() for loss in losses) / sum(row.shape[1] - 1 for row in ids))
    assert perplexity(model, messages, tokenizer) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("kind", "sampled_words"), [("wordlevel", 0), ("wordlevel", 100), ("wordpiece", 0)]
)
def test_it_learns_from_real_mail(tmp_path, kind, sampled_words):
    texts = pd.read_parquet(DATA / "messages.parquet")["text"].tolist()[:700]
    train, held_out = texts[:600], texts[600:]
    tokenizer = build_vocabulary(train, model=kind, max_size=400)
    shape = RecurrentConfig(
        vocab_size=len(tokenizer),
        embedding_size=16,
        hidden_size=32,
        num_hidden_layers=1,
        bidirectional=False,
    )
    learn = {"epochs": 6, "learning_rate": 0.04, "output_dir": tmp_path / "lm"}
    model = train_recurrent_model(train, tokenizer, shape, sampled_words=sampled_words, **learn)
    assert perplexity(model, held_out, tokenizer) < 0.85 * of_word_counts(
        train, held_out, tokenizer
    )
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "lm")
    torch.testing.assert_close(loaded(IDS).logits, model(IDS).logits)
    assert AutoTokenizer.from_pretrained(tmp_path / "lm").get_vocab() == tokenizer.get_vocab()
    assert [path.name for path in tmp_path.iterdir()] == ["lm"]


def test_a_new_model_begins_at_the_shares_of_words(messages, tokenizer, tmp_path):
    shape = config(len(tokenizer), bidirectional=False)
    slow = {"learning_rate": 1e-12, "output_dir": tmp_path / "lm"}
    model = train_recurrent_model(messages[:40], tokenizer, shape, **slow)
    assert perplexity(model, messages, tokenizer) < 1.1 * of_word_counts(
        messages, messages, tokenizer
    )


def test_words_that_were_never_counted_are_learnt_too(tmp_path):
    tokenizer = build_vocabulary([SENTENCE], min_frequency=1)
    add_bounds(tokenizer)
    shape = config(len(tokenizer), bidirectional=False)
    learn = {"output_dir": tmp_path / "lm", "sampled_words": 5, "epochs": 5, "learning_rate": 0.05}
    model = train_recurrent_model([SENTENCE] * 320, tokenizer, shape, **learn)
    assert perplexity(model, [SENTENCE], tokenizer) < 2
    assert model.estimated_loss is None


def of_word_counts(train, held_out, tokenizer):
    """The perplexity of a model that knows how frequent words are, and nothing else."""
    predicted = [
        torch.tensor([word for ids in segments(texts, tokenizer) for word in ids[1:]])
        for texts in (train, held_out)
    ]
    counts = 1.0 + torch.bincount(predicted[0], minlength=len(tokenizer))
    return math.exp(-(counts / counts.sum()).log()[predicted[1]].mean())


def test_validation_keeps_the_best_epoch(messages, tokenizer, tmp_path):
    shape = config(len(tokenizer), bidirectional=False)
    learn = {"output_dir": tmp_path / "lm", "epochs": 3, "learning_rate": 0.3}
    model = train_recurrent_model(
        messages[:40], tokenizer, shape, validation=messages[:40], **learn
    )
    state = pd.read_json(tmp_path / "lm" / "trainer_state.json", typ="series")
    losses = [entry["eval_loss"] for entry in state["log_history"] if "eval_loss" in entry]
    assert len(losses) == 3
    value = math.log(perplexity(model, messages[:40], tokenizer))
    assert min(losses, key=lambda loss: abs(loss - value)) == min(losses)


def test_the_same_seed_gives_the_same_weights(messages, tokenizer, tmp_path):
    def trained(seed):
        shape = config(len(tokenizer), separate_directions=True)
        train_recurrent_model(
            (text for text in messages[:40]), tokenizer, shape, output_dir=tmp_path, seed=seed
        )
        return (tmp_path / "model.safetensors").read_bytes()

    assert trained(1) == trained(1) != trained(2)


def test_it_begins_with_aligned_vectors_and_goes_on_with_a_model(messages, tokenizer, tmp_path):
    matrix = align(tokenizer, open_vectors("glove-6b-50d")).matrix
    shape = RecurrentConfig(vocab_size=len(tokenizer), hidden_size=8, separate_directions=True)
    slow = {"learning_rate": 1e-12, "output_dir": tmp_path / "lm"}
    model = train_recurrent_model(messages[:40], tokenizer, shape, embedding=matrix, **slow)
    torch.testing.assert_close(torch.from_numpy(model.embedding_matrix()), torch.tensor(matrix))
    before = perplexity(model, messages, tokenizer)
    tuned = train_recurrent_model(messages, tokenizer, model, output_dir=tmp_path / "tuned")
    assert tuned is model
    assert perplexity(tuned, messages, tokenizer) < before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": config(7, bidirectional=False)}, "start has vocab_size=7 .* tokenizer has 12"),
        ({"start": config(12)}, "Set separate_directions=True"),
        ({"epochs": 0}, "epochs is 0"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0"),
        ({"sampled_words": -1}, "sampled_words is -1"),
        ({"embedding": torch.zeros(12, 5).numpy()}, r"embedding is \(12, 5\) .* for \(12, 6\)"),
        ({"texts": []}, "texts: no text has two words"),
        ({"texts": ["one", "", "two"]}, "texts: no text has two words"),
        ({"texts": ["eleven twelve"]}, "texts: no text .* of which the vocabulary knows one"),
        ({"validation": ["one"]}, "validation: no text has two words"),
    ],
)
def test_bad_input_is_told_before_training_and_leaves_nothing(tmp_path, options, message):
    tokenizer = build_vocabulary(
        ["one two three four five six seven eight nine ten"], min_frequency=1
    )
    arguments = {"texts": ["one two three"], "start": config(12, bidirectional=False)} | options
    texts, start = arguments.pop("texts"), arguments.pop("start")
    with pytest.raises(InputError, match=message):
        train_recurrent_model(texts, tokenizer, start, output_dir=tmp_path / "lm", **arguments)
    assert not list(tmp_path.iterdir())


def test_perplexity_of_nothing_is_refused(tokenizer):
    with pytest.raises(InputError, match="nothing to predict"):
        perplexity(new_model(len(tokenizer), bidirectional=False), ["word"], tokenizer)


@every_kind
def test_a_classifier_has_the_layers_of_the_language_model_bit_by_bit(options):
    language_model = new_model(**options)
    classifier = classifier_from(language_model, ["urgent", "other", "spam"], seed=0)
    learnt, copied = (m.recurrent.state_dict() for m in (language_model, classifier))
    assert list(learnt) == list(copied)
    for name, tensor in learnt.items():
        assert torch.equal(copied[name], tensor), name
        assert copied[name].data_ptr() != tensor.data_ptr()
    assert classifier(IDS).logits.shape == (2, 3)
    features = classifier.recurrent(IDS)
    states = features.last_hidden_state[1, :3]  # of real tokens
    pooled = torch.cat([states.mean(0), states.amax(0)])
    torch.testing.assert_close(features.pooler_output[1, : len(pooled)], pooled)
    assert language_model.config.num_labels == 2  # untouched
    again = classifier_from(language_model, ["urgent", "other", "spam"], seed=0)
    assert torch.equal(again.classifier.weight, classifier.classifier.weight)


def test_a_saved_classifier_names_its_own_code_alone(parrot, tmp_path):
    language_model = AutoModelForCausalLM.from_pretrained(parrot)
    saved = classifier_from(language_model, ["urgent", "other"], seed=0).eval()
    saved.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    torch.testing.assert_close(loaded(IDS).logits, saved(IDS).logits)
    assert set(loaded.config.auto_map) == {"AutoConfig", "AutoModelForSequenceClassification"}
    code = {reference.split(".")[0] + ".py" for reference in loaded.config.auto_map.values()}
    assert code <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("size", [100, None], ids=["few labels", "all labels"])
def test_its_head_is_tuned_first_then_its_layers_and_its_embedding_last(size, tokenizer, tmp_path):
    language_model = new_model(len(tokenizer), separate_directions=True)
    language_model.save_pretrained(tmp_path / "lm")
    tokenizer.save_pretrained(tmp_path / "lm")
    task = read_task(DATA / "messages.parquet")
    candidate = LanguageModelCandidate(name="lm", task=task, base=tmp_path / "lm").quick()
    if size:
        candidate = candidate.without_later_stages()
    train = task.training_rows(0, 100, seed=0)
    trainer = candidate.build(train, None, 0, tmp_path / "run").trainer
    trainer.train()
    learnt = language_model.recurrent.state_dict()
    head, layers = trainer.stages[:2]
    for stage, kept in {head.name: "", layers.name: "embedding"}.items():
        trainer.load_stage(stage)
        for name, tensor in trainer.model.recurrent.state_dict().items():
            assert torch.equal(tensor, learnt[name]) == name.startswith(kept), (stage, name)
    trainer.load_stage(trainer.stages[-1].name)
    embedding = trainer.model.embedding_matrix()
    assert (embedding == language_model.embedding_matrix()).all() == (size is not None)
