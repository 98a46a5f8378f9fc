from pathlib import Path

import pandas as pd
import pytest

from nlp_transfer.text_candidates import TextCandidates
from tests.small_data import small_messages, small_photos

DATA = Path(__file__).parents[2] / "recipes" / "data"


@pytest.fixture(autouse=True, scope="module")
def _one_process(one_process):
    pass


@pytest.fixture
def nets_only(monkeypatch):
    """Let validation choose among nets alone: after one epoch a linear model is ahead of them."""
    monkeypatch.setattr(TextCandidates, "all", property(lambda found: found.staged))


@pytest.fixture(scope="session")
def small_data(tmp_path_factory):
    """12 urgent and 20 other texts in each of three folds, and some of the proxy task."""
    folder = tmp_path_factory.mktemp("data")
    few = small_messages().groupby(["fold", "label"]).head(20)
    few.to_parquet(folder / "messages.parquet")
    pd.read_parquet(DATA / "email_urgency" / "proxy.parquet").iloc[::14].to_parquet(
        folder / "proxy.parquet"
    )
    return folder


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """Six cats and six dogs in each of three folds, and a file that is no photo."""
    folder = tmp_path_factory.mktemp("pets")
    kept = small_photos(folder)
    broken = {"file_name": "images/broken.jpg", "species": "dog", "fold": 0}
    (folder / broken["file_name"]).write_text("no photo")
    rows = pd.concat([kept, pd.DataFrame([broken])])
    rows.to_json(folder / "metadata.jsonl", orient="records", lines=True)
    return folder
