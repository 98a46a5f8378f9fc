"""Static models as word vectors: whole words by themselves, others made of pieces."""

import numpy as np
import pytest
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from nlp_transfer import align, build_vocabulary, open_vectors
from nlp_transfer.language_models import WindowLanguageModel, WindowLanguageModelConfig
from nlp_transfer.models import (
    RecurrentConfig,
    RecurrentForCausalLM,
    RecurrentForSequenceClassification,
)
from staged_training import InputError
from tests.nlp_transfer.vector_files import write_static_model

WORDS = ["the", "pump", "call", "urgent"]


def numbered(words):
    return {word: number for number, word in enumerate(words)}


def word_pieces():
    tokens = ["[PAD]", "[UNK]", *WORDS, "##ing", "##s", "-", "e", "mail"]
    tokenizer = Tokenizer(models.WordPiece(numbered(tokens), unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]"])
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding()
    return tokenizer


def sentence_pieces():
    tokens = ["<unk>", "▁", *(f"▁{word}" for word in WORDS), "ing", "s", "▁e", "-", "mail"]
    tokenizer = Tokenizer(models.Unigram([(token, -1.0) for token in tokens], unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer


def byte_pairs():
    words = [*(f"Ġ{word}" for word in WORDS), "ing", "mail"]
    merges = dict.fromkeys((word[:end], word[end]) for word in words for end in range(1, len(word)))
    letters = sorted({letter for word in [*words, "q"] for letter in word})
    tokenizer = Tokenizer(models.BPE(numbered([*letters, *map("".join, merges)]), list(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


KINDS = {"##ing": word_pieces, "▁the": sentence_pieces, "Ġthe": byte_pairs}


def rows_for(tokenizer):
    generator = np.random.default_rng(0)
    return generator.normal(size=(tokenizer.get_vocab_size(), 3)).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_whole_words_are_looked_up_and_others_are_the_mean_of_their_pieces(kind, tmp_path):
    tokenizer = KINDS[kind]()
    rows = rows_for(tokenizer)
    vectors = open_vectors(write_static_model(tmp_path / "m", tokenizer, rows))
    marked = WORDS if kind == "##ing" else [f"{kind[0]}{word}" for word in WORDS]
    expected = {w: rows[tokenizer.token_to_id(t)] for w, t in zip(WORDS, marked, strict=True)}
    found, looked_up = vectors.lookup([*WORDS, "pumping", "qqq"])
    assert found == WORDS
    assert np.array_equal(looked_up, list(expected.values()))
    listed = dict(vectors)
    assert all(np.array_equal(listed[word], row) for word, row in expected.items())
    assert not listed.keys() & {"[UNK]", "<unk>", "[PAD]"}
    composed, made = vectors.compose(["pumping"])
    ids = tokenizer.encode(" pumping", add_special_tokens=False).ids
    pieces = [token for token in ids if tokenizer.id_to_token(token) not in ("▁", "[PAD]")]
    assert composed == ["pumping"]
    np.testing.assert_allclose(made[0], rows[pieces].mean(0), rtol=1e-6)


def test_what_the_tokenizer_does_not_know_has_no_vector(tmp_path):
    tokenizer = word_pieces()
    vectors = open_vectors(write_static_model(tmp_path / "m", tokenizer, rows_for(tokenizer)))
    unknown = ["zebra", "насос", "[UNK]", "[PAD]", "\ud800", ""]
    assert vectors.lookup(unknown)[0] == vectors.compose(unknown)[0] == []


def test_alignment_counts_what_is_made_of_pieces(tmp_path):
    tokenizer = word_pieces()
    rows = rows_for(tokenizer)
    vectors = open_vectors(write_static_model(tmp_path / "m", tokenizer, rows))
    task = build_vocabulary(["the pump calls URGENT zebra"], min_frequency=1, lowercase=False)
    aligned = align(task, vectors)
    assert aligned.coverage.by_rule["pieces"] == 1
    assert aligned.coverage.missing == ["zebra"]
    assert "pieces 1" in str(aligned.coverage)
    made = aligned.matrix[task.convert_tokens_to_ids("calls")]
    pieces = [tokenizer.token_to_id(token) for token in ("call", "##s")]
    np.testing.assert_allclose(made, rows[pieces].mean(0), rtol=1e-6)


def test_each_layout_and_type_is_read(tmp_path):
    tokenizer = word_pieces()
    rows = rows_for(tokenizer).astype(np.float16)
    number = tokenizer.token_to_id("pump")
    parted = write_static_model(tmp_path / "st" / "0_StaticEmbedding", tokenizer, rows, "a.weight")
    plain = write_static_model(tmp_path / "plain", tokenizer, rows)
    for place in (parted.parent, parted, plain, plain / "model.safetensors"):
        found, looked_up = open_vectors(place).lookup(["pump"])
        assert found == ["pump"]
        assert np.array_equal(looked_up[0], rows[number].astype(np.float32))


def test_a_model_of_shared_and_weighted_rows_is_read_as_model2vec_reads_it(tmp_path):
    tokenizer = word_pieces()
    shared = rows_for(tokenizer)[:3]
    mapping = np.arange(tokenizer.get_vocab_size()) % 3
    weights = np.linspace(0.1, 1, len(mapping), dtype=np.float32)
    others = {"mapping": mapping, "weights": weights}
    vectors = open_vectors(write_static_model(tmp_path / "m", tokenizer, shared, **others))
    tokens = [tokenizer.token_to_id(token) for token in ("pump", "##ing")]
    expected = shared[mapping[tokens]] * weights[tokens, None]
    np.testing.assert_allclose(vectors.lookup(["pump"])[1][0], expected[0], rtol=1e-6)
    np.testing.assert_allclose(vectors.compose(["pumping"])[1][0], expected.mean(0), rtol=1e-6)


def test_what_is_no_static_model_is_refused_with_the_reason(tmp_path):
    tokenizer, rows = word_pieces(), rows_for(word_pieces())
    folder = write_static_model(tmp_path, tokenizer, rows)
    damage = {
        "has vectors of 5 tokens and tokenizer.json knows 11": {"e": rows[:5]},
        "numbers are of type torch.int8": {"e": rows.astype(np.int8)},
        "holds 2 tensors, expected one matrix": {"e": rows, "f": rows},
        "mapping names rows that are not there": {"e": rows, "mapping": np.full(11, 99)},
        "not as many weights as tokens": {"e": rows, "weights": rows[:3, 0].copy()},
    }
    for message, tensors in damage.items():
        save_file(tensors, folder / "model.safetensors")
        with pytest.raises(InputError, match=message):
            open_vectors(folder)
    (folder / "model.safetensors").write_bytes(b"\0" * 20)
    with pytest.raises(InputError, match="no static model could be read"):
        open_vectors(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(
        InputError, match=r"is a folder without vectors\.txt, or tokenizer\.json and"
    ):
        open_vectors(folder)
    with pytest.raises(InputError, match=r"model\.safetensors: no such file"):
        open_vectors(folder / "model.safetensors")


def test_of_several_models_in_a_folder_one_is_named(tmp_path):
    tokenizer, rows = word_pieces(), rows_for(word_pieces())
    write_static_model(tmp_path, tokenizer, rows)
    save_file({"other": 2 * rows}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match=r"Name one of: model\.safetensors, other\.safetensors"):
        open_vectors(tmp_path)
    looked_up = open_vectors(tmp_path / "other.safetensors").lookup(["pump"])[1]
    assert np.array_equal(looked_up[0], 2 * rows[tokenizer.token_to_id("pump")])


def test_a_number_that_is_not_finite_is_told(tmp_path):
    tokenizer, rows = word_pieces(), rows_for(word_pieces())
    rows[tokenizer.token_to_id("pump")] = np.nan
    vectors = open_vectors(write_static_model(tmp_path, tokenizer, rows))
    with pytest.raises(InputError, match="the word 'pump': the vector holds NaN"):
        vectors.lookup(["pump"])


MODELS = {
    WindowLanguageModel: lambda words: WindowLanguageModelConfig(vocab_size=words),
    RecurrentForCausalLM: lambda words: RecurrentConfig(vocab_size=words, bidirectional=False),
    RecurrentForSequenceClassification: lambda words: RecurrentConfig(vocab_size=words),
}


@pytest.mark.parametrize("kind", MODELS)
def test_the_embedding_of_a_saved_model_is_opened_like_word_vectors(kind, tmp_path):
    tokenizer = build_vocabulary(["Please call me before noon, urgent"], min_frequency=1)
    model = kind(MODELS[kind](len(tokenizer)))
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    other = build_vocabulary(["NOON or midnight, please"], min_frequency=1)
    aligned = align(other, open_vectors(tmp_path))
    assert aligned.coverage.missing == ["midnight", "or"]
    for word in ("noon", "please"):
        row = model.embedding_matrix()[tokenizer.convert_tokens_to_ids(word)]
        np.testing.assert_array_equal(aligned.matrix[other.convert_tokens_to_ids(word)], row)


def test_a_model_beside_other_tensors_is_found_and_another_tokenizer_is_refused(tmp_path):
    tokenizer = build_vocabulary(["call me before noon"], min_frequency=1)
    model = RecurrentForSequenceClassification(RecurrentConfig(vocab_size=len(tokenizer)))
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    save_file({"scores": np.zeros(3, np.float32)}, tmp_path / "conformal.safetensors")
    assert open_vectors(tmp_path).lookup(["noon"])[0] == ["noon"]
    build_vocabulary(["call me"], min_frequency=1).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="They are from different models"):
        open_vectors(tmp_path)


def test_a_model_in_memory_does_not_know_its_words():
    with pytest.raises(InputError, match=r"RecurrentForCausalLM.*the folder that it was saved in"):
        open_vectors(RecurrentForCausalLM(RecurrentConfig(vocab_size=9, bidirectional=False)))
