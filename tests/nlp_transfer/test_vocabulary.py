import pytest
from tokenizers import pre_tokenizers
from transformers import AutoTokenizer

from nlp_transfer import build_vocabulary, vocabulary
from nlp_transfer.vocabulary import add_bounds, corpus_vocabulary
from staged_training import InputError

TEXTS = [
    "Please call me by 5:30 pm, it's urgent!",
    "We can't wait... please answer today.",
    "Don\u2019t call today",
]


def test_words_are_cut_as_in_glove():
    tokenizer = build_vocabulary(TEXTS, min_frequency=1)
    assert tokenizer.tokenize("Don\u2019t call by 5:30, it's urgent...") == (
        ["do", "n't", "call", "by", "5:30", ",", "it", "'s", "urgent", "..."]
    )
    assert tokenizer.tokenize("can't") == ["ca", "n't"]


def test_padding_is_zero_and_unknown_words_are_one():
    tokenizer = build_vocabulary(TEXTS, min_frequency=1)
    batch = tokenizer(["please call nobody", "call"], padding=True)
    assert batch["input_ids"][0][2] == tokenizer.unk_token_id == 1
    assert batch["input_ids"][1][1:] == [0, 0]
    assert batch["attention_mask"] == [[1, 1, 1], [1, 0, 0]]
    assert set(batch) == {"input_ids", "attention_mask"}


def test_rare_words_and_words_beyond_the_size_are_dropped_but_counted():
    tokenizer = build_vocabulary(TEXTS, min_frequency=2)
    words = set(tokenizer.get_vocab()) - {"[PAD]", "[UNK]"}
    assert words == {"please", "call", "today", "n't"}
    counts = tokenizer.init_kwargs["token_counts"]
    assert counts[tokenizer.convert_tokens_to_ids("please")] == 2
    assert counts[1] == sum(len(tokenizer.tokenize(text)) for text in TEXTS) - 8
    assert len(build_vocabulary(TEXTS, min_frequency=1, max_size=3)) == 5


def test_case_is_kept_on_demand():
    tokenizer = build_vocabulary(TEXTS, min_frequency=1, lowercase=False)
    assert tokenizer.tokenize("Please please") == ["Please", "please"]


def test_word_pieces_spell_what_was_never_seen():
    tokenizer = build_vocabulary(TEXTS * 5, min_frequency=1, max_size=60, model="wordpiece")
    pieces = tokenizer.tokenize("calls")
    assert pieces[0].startswith("c") and all(piece.startswith("##") for piece in pieces[1:])
    assert "[UNK]" not in pieces
    assert sum(tokenizer.init_kwargs["token_counts"]) == sum(
        len(tokenizer.tokenize(text)) for text in TEXTS * 5
    )


def test_it_is_saved_and_loaded_with_its_counts(tmp_path):
    tokenizer = build_vocabulary(TEXTS, min_frequency=1)
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded(TEXTS)["input_ids"] == tokenizer(TEXTS)["input_ids"]
    assert loaded.init_kwargs["token_counts"] == tokenizer.init_kwargs["token_counts"]
    assert loaded.model_max_length == tokenizer.model_max_length


def test_texts_may_be_a_stream():
    streamed = build_vocabulary((text for text in TEXTS), min_frequency=1)
    assert streamed.get_vocab() == build_vocabulary(TEXTS, min_frequency=1).get_vocab()


def test_texts_without_frequent_words_are_refused():
    with pytest.raises(InputError, match="No word occurs 9 times or more"):
        build_vocabulary(TEXTS, min_frequency=9)
    with pytest.raises(ValueError, match="needs max_size"):
        build_vocabulary(TEXTS, model="wordpiece")


def test_a_vocabulary_with_bounds_begins_texts_and_puts_clitics_back():
    tokenizer = build_vocabulary(["the dog 's tail", "they do n't"], min_frequency=1)
    before = len(tokenizer)
    add_bounds(tokenizer)
    assert len(tokenizer) == before + 2
    ids = tokenizer("the dog's tail")["input_ids"]
    assert ids[0] == tokenizer.bos_token_id and tokenizer.eos_token_id not in ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == "the dog's tail"
    padded = tokenizer(["they don't", "dog"], padding=True)["input_ids"]
    assert padded[1][:2] == [tokenizer.pad_token_id, tokenizer.pad_token_id]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("पानी नहीं है।", ["पानी", "नहीं", "है", "।"]),
        ("שָׁלוֹם עוֹלָם", ["שָׁלוֹם", "עוֹלָם"]),
        ("كِتَابٌ، جديد", ["كِتَابٌ", "،", "جديد"]),
        ("نمی\u200cدانم", ["نمی\u200cدانم"]),
        ("ශ්\u200dරී ලංකා", ["ශ්\u200dරී", "ලංකා"]),
    ],
)
def test_marks_and_joiners_belong_to_their_words(text, tokens):
    assert build_vocabulary([text], min_frequency=1).tokenize(text) == tokens


def test_the_turkish_dotted_capital_is_a_plain_i_in_lower_case():
    tokenizer = build_vocabulary(["İstanbul I\u0307STANBUL istanbul"], min_frequency=1)
    assert tokenizer.tokenize("İstanbul") == ["istanbul"]
    assert len(tokenizer) == 3
    cased = build_vocabulary(["İstanbul"], min_frequency=1, lowercase=False)
    assert cased.tokenize("İstanbul") == ["İstanbul"]


@pytest.mark.parametrize("word", ["ΟΔΟΣ", "ΣΟΦΟΣ", "ΣΑΣ", "STRASSE", "ИЗДАНИЕ"])
def test_lower_case_is_that_of_the_language(word):
    assert build_vocabulary([word], min_frequency=1).tokenize(f"{word},")[0] == word.lower()


def test_joiners_outside_of_words_stay_tokens_of_their_own():
    cut = pre_tokenizers.Split(vocabulary._TOKEN, behavior="removed", invert=True)
    found = [
        word for word, _ in cut.pre_tokenize_str("A \u200c\u200d filler, x_1 m² 👨\u200d👩 --")
    ]
    assert found == ["A", "\u200c", "\u200d", "filler", ",", "x_1", "m²", *"👨\u200d👩", "--"]


@pytest.mark.parametrize(
    "text", ["今天下午三点开会，请准时。", "午後三時に会議です。", "ประชุมบ่ายสามโมง"]
)
def test_languages_without_spaces_are_told_once(text, caplog):
    vocabulary._warn_of_unspaced.cache_clear()
    for _ in range(2):
        build_vocabulary([text], min_frequency=1)
    (said,) = caplog.messages
    assert "without spaces" in said and "encoder" in said and "segmenter" in said


@pytest.mark.parametrize(
    "text", ["회의는 세 시입니다", "बैठक तीन बजे है", "Meeting with 王 at three o'clock"]
)
def test_languages_with_spaces_are_not_complained_of(text, caplog):
    vocabulary._warn_of_unspaced.cache_clear()
    build_vocabulary([text], min_frequency=1)
    assert not caplog.messages


@pytest.mark.parametrize("texts", ["call me", b"call me"])
def test_a_single_text_is_refused(texts):
    with pytest.raises(InputError, match="it is a single text"):
        build_vocabulary(texts, min_frequency=1)


@pytest.mark.parametrize("gap", [float("nan"), None, 3, ["call"]])
def test_what_is_no_text_is_refused_by_its_number(gap):
    with pytest.raises(InputError, match=r"texts: number 1 is .*, expected a string"):
        build_vocabulary(["call", gap], min_frequency=1)


def test_the_words_of_the_task_are_kept_however_rare_in_the_corpus():
    corpus = ["the mail is here", "the mail is late", "the parcel"]
    tokenizer = corpus_vocabulary(corpus, ["parcel asap asap"], min_frequency=2)
    words = tokenizer.get_vocab()
    assert set(words) == {"[PAD]", "[UNK]", "the", "mail", "is", "parcel", "asap"}
    counts = tokenizer.init_kwargs["token_counts"]
    expected = {"the": 3, "mail": 2, "is": 2, "parcel": 1, "asap": 0}
    assert {word: counts[words[word]] for word in expected} == expected
