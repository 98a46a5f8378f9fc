"""Texts to label, and sessions of them in this process."""

import shutil
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


@pytest.fixture(scope="session")
def _mails(tmp_path_factory):
    mails = pd.read_parquet(MAILS / "messages.parquet").groupby("asks_for_action").head(80)
    file = tmp_path_factory.mktemp("mails") / "mails.csv"
    mails[["id", "text"]].to_csv(file, index=False)
    pool = read_pool(str(file), None, "label", "none")
    assert len(pool.features) == len(pool.groups)  # they are computed once for all tests
    return mails, pool


@pytest.fixture
def mails(_mails):
    """160 texts, half of which ask for something; without labels they lie in `mails.csv`."""
    shutil.copy(_mails[1].source, "mails.csv")
    return _mails[0]


@pytest.fixture
def pool(_mails, mails):
    return _mails[1]


@pytest.fixture
def begin(pool):
    """Begin a session, or one that goes on with what the last one left."""
    sessions = []

    def begun(names=("asks", "tells"), pool=pool):
        end()
        output = Path("labels.csv")
        sessions.append(Session(pool, AnswerLog(log_of(output), pool), output, names))
        return sessions[-1]

    def end():
        for session in sessions:
            session._table.wait()
            session._log.close()

    yield begun
    end()
