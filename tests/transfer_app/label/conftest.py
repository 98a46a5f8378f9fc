"""Texts to label, and sessions of them in this process."""

from pathlib import Path

import pandas as pd
import pytest
from huggingface_hub import constants

from recipes.email_urgency import DATA as MAILS
from transfer_app.label.log import AnswerLog, log_of
from transfer_app.label.pool import read_pool
from transfer_app.label.session import Session


@pytest.fixture(autouse=True)
def _features_are_kept_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))


@pytest.fixture
def mails():
    """160 texts, half of which ask for something; without labels they lie in `mails.csv`."""
    mails = pd.read_parquet(MAILS / "messages.parquet").groupby("asks_for_action").head(80)
    mails[["id", "text"]].to_csv("mails.csv", index=False)
    return mails


@pytest.fixture
def pool(mails):
    return read_pool("mails.csv", None, "label", "none")


@pytest.fixture
def begin(pool):
    """Begin a session, or one that goes on with what the last one left."""
    sessions = []

    def begun(names=("asks", "tells"), pool=pool):
        for session in sessions:
            session.close()
        output = Path("labels.csv")
        sessions.append(Session(pool, AnswerLog(log_of(output), pool), output, names))
        return sessions[-1]

    yield begun
    sessions[-1].close()
