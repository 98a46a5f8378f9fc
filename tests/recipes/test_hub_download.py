"""Models loaded from the Hub by name: faults on the way are mended, or told without a trace."""

from pathlib import Path

import pytest
from transformers import set_seed

from nlp_transfer import build_vocabulary
from nlp_transfer.models import RecurrentConfig, RecurrentForSequenceClassification

NAME = "someone/model"

PREDICT = """
import io, resource, signal, sys
from transfer_app.command_line import main
if {most}:
    resource.setrlimit(resource.RLIMIT_FSIZE, ({most}, {most}))  # as on a disk that is full
sys.stdin = io.StringIO("Call me before noon")
sys.exit(main(["predict", "{name}", "-"]))
"""


@pytest.fixture
def uploaded(hub):
    """A model on the Hub whose weights have 400 kB."""
    tokenizer = build_vocabulary(["Call me before noon"], min_frequency=1)
    set_seed(0)
    config = RecurrentConfig(vocab_size=len(tokenizer))
    RecurrentForSequenceClassification(config).push_to_hub(NAME)
    tokenizer.push_to_hub(NAME)


@pytest.mark.parametrize("kind", ["cut", "slow", "status"])
def test_a_download_that_is_cut_off_goes_on(kind, uploaded, hub, elsewhere):
    hub.fail("GET", "objects/", kind, status=429, headers={"Retry-After": "0"})
    finished = elsewhere(PREDICT.format(name=NAME, most=0), with_project=True)
    assert finished.returncode == 0, finished.stderr
    assert "LABEL_" in finished.stdout
    assert hub.faults_met()


def test_a_full_disk_is_told_and_what_was_begun_is_removed(uploaded, elsewhere, tmp_path):
    finished = elsewhere(PREDICT.format(name=NAME, most=100_000), with_project=True)
    assert finished.returncode == 2, finished.stderr
    assert "there is no room for it" in finished.stderr
    assert "File too large" in finished.stderr
    assert "Traceback" not in finished.stderr
    sizes = [path.stat().st_size for path in Path(tmp_path, "home").rglob("*") if path.is_file()]
    assert max(sizes) < 100_000
    again = elsewhere(PREDICT.format(name=NAME, most=0), with_project=True)
    assert again.returncode == 0, again.stderr


def test_a_model_that_is_not_there_or_private_is_told(uploaded, hub, elsewhere):
    finished = elsewhere(PREDICT.format(name="someone/nothing", most=0), with_project=True)
    assert finished.returncode == 2
    assert "no model could be loaded" in finished.stderr
