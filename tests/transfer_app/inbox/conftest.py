"""A real mail server, and a model that finds some mails urgent."""

import itertools

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from transformers import TrainerState

from nlp_transfer.tfidf import tfidf_classifier, tfidf_vectorizer
from nlp_transfer.trained_model import save_trained
from tests.small_data import small_messages
from tests.transfer_app.inbox.dovecot import PASSWORD, Dovecot, is_installed
from transfer_app.command_line import main
from transfer_app.inbox.credentials import PASSWORD as PASSWORD_VARIABLE

_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def dovecot():
    """A server that is running."""
    if not is_installed():
        pytest.skip("there is no Dovecot: make test-inbox INSTALL_DOVECOT=1 installs it")
    server = Dovecot()
    yield server
    server.close()


@pytest.fixture
def server(dovecot, monkeypatch, tmp_path):
    """The server, trusted, and logged in to by the environment."""
    monkeypatch.setenv("SSL_CERT_FILE", str(dovecot.certificate))
    monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORD)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return dovecot


@pytest.fixture
def user():
    """A user without mail."""
    return f"user{next(_NUMBERS)}"


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """The folder of a model that finds mails urgent that speak of a server that is down."""
    folder = tmp_path_factory.mktemp("urgency") / "model"
    messages = small_messages()
    texts = [*messages["text"], *["The server is down"] * 20, *["Lunch was good"] * 20]
    labels = [*messages["label"].eq("urgent"), *[True] * 20, *[False] * 20]
    vectorizer = tfidf_vectorizer()
    features = vectorizer.fit_transform(texts)
    fitted = LogisticRegression(C=10, class_weight="balanced").fit(features, labels)
    weight, bias = np.vstack([0 * fitted.coef_, fitted.coef_]), [0, fitted.intercept_[0]]
    classifier, tokenizer = tfidf_classifier(vectorizer, weight, bias, ["non-urgent", "urgent"])
    classifier.config.positive_label = "urgent"
    save_trained(classifier, tokenizer, TrainerState(), folder)
    assert main(["export", str(folder)]) == 0
    return folder
