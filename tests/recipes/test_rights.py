"""Who may read what is written: whom the umask lets, and no file less than those beside it."""

import os

import pytest
import torch
from transformers import TrainerState

from nlp_transfer import build_vocabulary
from nlp_transfer.models import RecurrentConfig, RecurrentForSequenceClassification
from nlp_transfer.trained_model import save_trained
from staged_training.experiment.run_folder import RunFolder
from staged_training.features.store import kept
from staged_training.heads.familiarity import familiarity
from transfer_app.export import export


@pytest.fixture(params=[0o022, 0o027, 0o077], ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_a_run_and_an_export_write_files_with_the_rights_that_the_umask_gives(umask, tmp_path):
    tokenizer = build_vocabulary(["Call me before noon"], min_frequency=1)
    shape = {"embedding_size": 4, "hidden_size": 4, "vocab_size": len(tokenizer)}
    model = RecurrentForSequenceClassification(RecurrentConfig(**shape))

    def work(folder):
        save_trained(model, tokenizer, TrainerState(), folder / "model")
        familiarity(torch.randn(20, 4)).save(folder / "model")
        kept([{"features": torch.ones(2, 2)}], folder / "model" / "features.safetensors")

    run = RunFolder(tmp_path / "out", {}, resume=False)
    run.open()
    run.run_cached("part", work)
    run.publish(run.runs / "part" / "model")
    check(run.path, umask)
    run.close()
    export(str(run.path), None)
    check(run.path, umask)
    assert {file.suffix for file in run.path.iterdir()} >= {".onnx", ".safetensors", ".json"}


def check(folder, umask):
    for path in (folder, *folder.rglob("*")):
        usual = 0o777 if path.is_dir() else 0o666
        assert path.stat().st_mode & 0o777 == usual & ~umask, path
