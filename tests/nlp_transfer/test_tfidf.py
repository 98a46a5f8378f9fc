"""A linear model on TF-IDF: the numbers of scikit-learn, as a model of `transformers`."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import average_precision_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from nlp_transfer.explanation import explain
from nlp_transfer.models import TfidfConfig, TfidfForSequenceClassification
from nlp_transfer.text_task import LabelledTexts, read_task
from nlp_transfer.tfidf import CS, TfidfCandidate, fit_best, tfidf_classifier, tfidf_vectorizer
from staged_training.experiment.candidate import MODELS, Round
from staged_training.experiment.target import MultiLabel, Regression, SingleLabel
from staged_training.heads.class_balance import softmax
from staged_training.heads.linear_probe import fit_linear
from staged_training.reporting.onnx_export import export_onnx
from staged_training.runtime.seal import check_seal
from staged_training.tables.word_tokenizer import WordTokenizer
from tests.small_data import small_messages
from transfer_app.command_line import main

TEXTS = [
    "Call me now, call me before noon!",
    "please CALL today",
    "a photo of the Summer party",
    "see you next year. See the photo",
    "पानी नहीं आ रहा, please call",
    "没有水了，请打电话 now",
    "İstanbul'da ΣΊΣΥΦΟΣ today",
    "next year, next party",
]
LABELS = [1, 1, 0, 0, 2, 2, 0, 1]
NAMES = ["other", "urgent", "water"]
PARTS = ("coef_", "intercept_")
UNSEEN = [*TEXTS, "", "now or never", "[PAD] [UNK] 水", "call call call photo call", "me. call"]

VECTORIZER = tfidf_vectorizer().fit(TEXTS)
FEATURES = VECTORIZER.transform(TEXTS)
REGRESSION = LogisticRegression(C=10).fit(FEATURES, LABELS)
MODEL, TOKENIZER = tfidf_classifier(VECTORIZER, REGRESSION.coef_, REGRESSION.intercept_, NAMES)


def encoded(texts, tokenizer=TOKENIZER, **options):
    return tokenizer(texts, padding=True, return_tensors="pt", **options)


def logits(texts, model=MODEL, tokenizer=TOKENIZER, **options):
    with torch.no_grad():
        return model(**encoded(texts, tokenizer, **options)).logits.numpy()


words = st.one_of(
    st.sampled_from([word for text in TEXTS for word in text.split()]),
    st.text(max_size=6),
    st.sampled_from([" ", "\n", "İ", "[PAD]", "水", "\u200d"]),
)
random_texts = st.lists(words, max_size=12).map(" ".join)


@settings(max_examples=100)
@example(UNSEEN)
@given(st.lists(random_texts, min_size=1, max_size=4))
def test_its_logits_are_those_of_scikit_learn(texts):
    wanted = REGRESSION.decision_function(VECTORIZER.transform(texts))
    np.testing.assert_allclose(logits(texts), wanted, atol=1e-5)


@settings(max_examples=50)
@given(
    texts=st.lists(random_texts.filter(tfidf_vectorizer().build_analyzer()), min_size=2, max_size=5)
)
def test_they_are_so_whatever_it_was_fitted_to(texts):
    vectorizer = tfidf_vectorizer()
    features = vectorizer.fit_transform(texts)
    weight = np.random.default_rng(0).normal(size=(3, features.shape[1]))
    model, tokenizer = tfidf_classifier(vectorizer, weight, [0, 1, 2], NAMES)
    wanted = features @ weight.T + [0, 1, 2]
    np.testing.assert_allclose(logits(texts, model, tokenizer), wanted, atol=1e-5)


def test_padding_and_the_other_texts_of_a_batch_do_not_matter():
    together = logits(UNSEEN)
    for options in ({"padding_side": "left"}, {"pad_to_multiple_of": 64}):
        np.testing.assert_array_equal(logits(UNSEEN, **options), together)
    alone = [logits([text])[0] for text in UNSEEN]
    np.testing.assert_allclose(alone, together, atol=1e-6)
    ids = encoded(UNSEEN)["input_ids"]
    np.testing.assert_array_equal(MODEL(ids).logits.detach(), together)


def test_a_text_without_known_words_gets_the_bias():
    for texts in ([""], ["", ""], ["quite unheard"], ["!", "a"]):
        np.testing.assert_array_equal(logits(texts), [MODEL.classifier.bias.tolist()] * len(texts))


def test_the_words_are_those_of_the_vectorizer_and_no_special_ones():
    analyze = tfidf_vectorizer().set_params(ngram_range=(1, 1)).build_analyzer()
    for text in UNSEEN:
        assert TOKENIZER.tokenize(text) == analyze(text)
    assert set(encoded(["[PAD] [UNK]"])["input_ids"][0].tolist()) == {TOKENIZER.unk_token_id}
    assert TOKENIZER.decode(TOKENIZER("call NEVER now")["input_ids"]) == "call [UNK] now"


def test_a_saved_model_loads_through_the_auto_classes_and_the_pipeline(tmp_path):
    for part in (MODEL, TOKENIZER):
        part.save_pretrained(tmp_path)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert type(model) is TfidfForSequenceClassification
    assert type(tokenizer) is WordTokenizer
    assert tokenizer.get_vocab() == TOKENIZER.get_vocab()
    np.testing.assert_array_equal(logits(UNSEEN, model, tokenizer), logits(UNSEEN))
    classify = pipeline("text-classification", str(tmp_path), top_k=None)
    for batch_size in (1, 4):
        found = classify(UNSEEN, batch_size=batch_size, truncation=True)
        scores = [{label["label"]: label["score"] for label in labels} for labels in found]
        scores = [[of_text[name] for name in NAMES] for of_text in scores]
        np.testing.assert_allclose(scores, softmax(logits(UNSEEN)), atol=1e-6)


def test_it_runs_where_this_project_is_not_installed(tmp_path, elsewhere):
    for part in (MODEL, TOKENIZER):
        part.save_pretrained(tmp_path / "model")
    code = f"""
import json
from transformers import pipeline
classify = pipeline("text-classification", "model", trust_remote_code=True)
print(json.dumps(classify({UNSEEN!r}, function_to_apply="none")))
"""
    finished = elsewhere(code)
    assert finished.returncode == 0, finished.stderr
    found = json.loads(finished.stdout.splitlines()[-1])
    assert [label["score"] for label in found] == pytest.approx(logits(UNSEEN).max(1).tolist())


def test_as_onnx_it_gives_the_same_logits_for_texts_of_any_number_and_length(tmp_path):
    import onnxruntime

    file = tmp_path / "model.onnx"
    exported = export_onnx(MODEL, [dict(encoded(TEXTS)), dict(encoded(["call me"]))], file)
    assert exported.difference < 1e-5
    session = onnxruntime.InferenceSession(file)
    for texts in (UNSEEN, ["call"], ["", "a"], ["call me " * 300, "", "now"]):
        batch = {name: tensor.long().numpy() for name, tensor in encoded(texts).items()}
        (found,) = session.run(None, batch)
        np.testing.assert_allclose(found, logits(texts), atol=1e-5)


def test_the_loss_is_that_of_the_kind_of_labels():
    batch, scores = encoded(TEXTS), torch.from_numpy(logits(TEXTS))
    numbers = torch.tensor(LABELS)
    loss = MODEL(**batch, labels=numbers).loss
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(scores, numbers))
    loss.backward()
    assert MODEL.classifier.weight.grad.any()
    MODEL.zero_grad()


def test_several_labels_for_a_text_and_numbers():
    many = [[1, 0], [1, 0], [0, 1], [0, 1], [1, 1], [1, 0], [0, 0], [0, 1]]
    each = OneVsRestClassifier(LogisticRegression()).fit(FEATURES, many)
    weight, bias = ([getattr(e, part)[0] for e in each.estimators_] for part in PARTS)
    model, _ = tfidf_classifier(VECTORIZER, weight, bias, ["call", "photo"])
    model.config.problem_type = "multi_label_classification"
    output = model(**encoded(TEXTS), labels=torch.tensor(many).float())
    np.testing.assert_allclose(
        output.logits.sigmoid().detach(), each.predict_proba(FEATURES), atol=1e-5
    )
    binary = torch.nn.functional.binary_cross_entropy_with_logits
    torch.testing.assert_close(output.loss, binary(output.logits, torch.tensor(many).float()))

    ridge = Ridge().fit(FEATURES, LABELS)
    model, _ = tfidf_classifier(VECTORIZER, ridge.coef_[None], [ridge.intercept_], ["number"])
    model.config.problem_type = "regression"
    output = model(**encoded(TEXTS), labels=torch.tensor(LABELS).float())
    np.testing.assert_allclose(output.logits[:, 0].detach(), ridge.predict(FEATURES), atol=1e-5)
    errors = ridge.predict(FEATURES) - LABELS
    assert output.loss.item() == pytest.approx((errors**2).mean(), abs=1e-5)


def test_memory_grows_with_the_words_that_are_there_not_with_the_features():
    config = TfidfConfig(vocab_size=60_000, num_features=100_000, num_labels=3)
    model = TfidfForSequenceClassification(config)
    model.tfidf.codes.copy_(torch.arange(2, 100_002))
    words = torch.randint(2, 60_000, (256, 200), generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), torch.profiler.profile(profile_memory=True) as profile:
        model(words)
    most = max(event.cpu_memory_usage for event in profile.events())
    assert 0 < most < 10 * 2**20  # all features of 256 texts would be 100 MB


def test_a_vectorizer_of_other_settings_is_refused():
    vectorizer = tfidf_vectorizer().set_params(sublinear_tf=False).fit(TEXTS)
    with pytest.raises(ValueError, match="make it by `tfidf_vectorizer"):
        tfidf_classifier(vectorizer, REGRESSION.coef_, REGRESSION.intercept_, NAMES)


def test_words_that_speak_for_a_label_are_shown_where_they_stand():
    text = "İ say: CALL me (now), ΣΊΣΥΦΟΣ. 没有水了!"
    found = explain(MODEL, TOKENIZER, text, label=1)
    shown = [text[word.start : word.end] for word in found]
    assert shown == ["İ", "say", "CALL", "me", "now", "ΣΊΣΥΦΟΣ", "没", "有", "水了"]
    attributions = [word.attribution for word in found]
    assert attributions[2] > 0.1 > attributions[5]  # sorted among those of the label, and not
    assert attributions[1] == 0.0  # it is not known
    assert explain(MODEL, TOKENIZER, "", label=1) == []


@pytest.fixture
def task(tmp_path):
    small_messages().to_parquet(tmp_path / "messages.parquet")
    return read_task(tmp_path / "messages.parquet")


def test_as_a_candidate_it_scores_what_scikit_learn_scores_and_is_saved(task, tmp_path):
    round_ = Round(0, 0, task.split(0))
    (found,) = TfidfCandidate(task).evaluate(round_, tmp_path)
    train, _, test = task.parts(0)
    C = found.grid[0]["C"]
    wanted = make_pipeline(
        tfidf_vectorizer(), LogisticRegression(C=C, class_weight="balanced", max_iter=1000)
    ).fit(train.texts, train.labels)
    positive = task.target.positive
    scores = wanted.predict_proba(test.texts)[:, positive]
    precision = average_precision_score(np.array(test.labels) == positive, scores)
    assert found.metrics["average_precision"] == pytest.approx(precision)

    folder = tmp_path / MODELS / found.model
    check_seal(str(folder))
    classify = pipeline("text-classification", str(folder), top_k=None)
    shown = [
        next(label["score"] for label in labels if label["label"] == "urgent")
        for labels in classify(test.texts)
    ]
    assert shown == pytest.approx([p[positive] for p in found.probabilities], abs=1e-5)


def labelled(task, target, labels):
    return replace(task, target=target, all=LabelledTexts(task.all.texts, labels))


def test_several_labels_are_one_regression_each(task, tmp_path):
    labels = [[float("meet" in text), 1.0, float(len(text) > 50)] for text in task.all.texts]
    task = labelled(task, MultiLabel(["meets", "is text", "is long"]), labels)
    (found,) = TfidfCandidate(task).evaluate(Round(0, 0, task.split(0)), tmp_path)
    _, _, test = task.parts(0)
    predicted = np.array(found.probabilities)
    wanted = average_precision_score(np.array(test.labels), predicted)
    assert found.metrics["macro_average_precision"] == pytest.approx(wanted)
    classify = pipeline("text-classification", str(tmp_path / MODELS / found.model), top_k=None)
    for row, scores in zip(predicted[:5], classify(test.texts[:5]), strict=True):
        shown = {score["label"]: score["score"] for score in scores}
        assert [shown[name] for name in task.names] == pytest.approx(row.tolist(), abs=1e-5)


def test_numbers_are_a_ridge_regression(task, tmp_path):
    numbers = [1000.0 + len(text) for text in task.all.texts]
    task = labelled(task, Regression(["length"]), numbers)
    (found,) = TfidfCandidate(task).evaluate(Round(0, 0, task.split(0)), tmp_path)
    train, _, test = task.parts(0)
    ridge = make_pipeline(tfidf_vectorizer(), Ridge(alpha=1 / found.grid[0]["C"]))
    wanted = ridge.fit(train.texts, train.labels).predict(test.texts)
    assert np.ravel(found.probabilities) == pytest.approx(wanted)
    predict = pipeline("text-classification", str(tmp_path / MODELS / found.model))
    shown = [one["score"] for one in predict(test.texts[:5])]
    assert shown == pytest.approx(wanted[:5].tolist(), rel=1e-5)


def test_the_model_of_all_rows_predicts_and_is_exported(task, tmp_path, capsys):
    candidate = TfidfCandidate(task)
    (found,) = candidate.evaluate(Round(0, 0, task.split(0)), tmp_path)
    candidate.refit(np.arange(len(task.folds)), [found], 0, tmp_path)
    folder = tmp_path / "model"
    (tmp_path / "mail.eml").write_text("Subject: Noon\n\nPlease call me before noon.")
    assert main(["predict", str(folder), str(tmp_path / "mail.eml"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told["scores"]) == set(task.names)
    assert main(["export", str(folder)]) == 0
    assert (folder / "model.onnx").exists()


def test_two_labels_have_logits_whose_softmax_is_the_probability():
    labels = [int(number == 1) for number in LABELS]
    regression = LogisticRegression(C=10, max_iter=1000).fit(FEATURES, labels)
    fitted = fit_linear(FEATURES, labels, SingleLabel(["other", "urgent"]), C=10)
    model, _ = tfidf_classifier(VECTORIZER, *fitted, ["other", "urgent"])
    wanted = regression.predict_proba(VECTORIZER.transform(UNSEEN))
    np.testing.assert_allclose(softmax(logits(UNSEEN, model)), wanted, atol=1e-6)


def test_of_penalties_that_find_the_same_the_surest_is_taken():
    known = [(f"{word} {n}", int(word == "call")) for n in range(60) for word in ("call", "party")]
    texts = LabelledTexts(*map(list, zip(*known, strict=True)))
    target = SingleLabel(["other", "urgent"], positive=1)
    assert CS[-1] == fit_best(texts, texts.select(range(30)), target).C
