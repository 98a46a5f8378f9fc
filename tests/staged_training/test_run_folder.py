"""The output folder of a recipe: nothing in it is lost, nothing is done twice."""

import pytest

from staged_training import InputError
from staged_training.run_folder import RunFolder

ARGUMENTS = {"seed": 0, "folds": "all"}


@pytest.fixture
def cut_off(tmp_path):
    folder = RunFolder(tmp_path / "out", ARGUMENTS, resume=False)
    folder.open()
    return folder


def test_nothing_is_made_before_it_is_opened(tmp_path):
    RunFolder(tmp_path / "out", ARGUMENTS, resume=False)
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_else_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match=r"holds something else \(thesis.tex\)"):
        RunFolder(tmp_path, ARGUMENTS, resume=True)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(InputError, match="is a file"):
        RunFolder(tmp_path / "out", ARGUMENTS, resume=False)


def test_a_run_that_was_cut_off_is_resumed_only_when_asked(cut_off):
    with pytest.raises(InputError, match="Add --resume"):
        RunFolder(cut_off.path, ARGUMENTS, resume=False)
    RunFolder(cut_off.path, ARGUMENTS, resume=True)


def test_a_run_is_not_resumed_with_other_arguments(cut_off):
    with pytest.raises(InputError, match="--seed was 0 and is 1"):
        RunFolder(cut_off.path, ARGUMENTS | {"seed": 1}, resume=True)


def test_a_finished_run_is_not_overwritten(cut_off):
    (cut_off.report / "results.json").write_text("{}")
    cut_off.close()
    with pytest.raises(InputError, match="holds a finished run"):
        RunFolder(cut_off.path, ARGUMENTS, resume=True)


def test_work_is_done_once(cut_off):
    calls = []

    def work(folder):
        calls.append(folder.name)
        return {"score": 0.5}

    for folder in (cut_off, RunFolder(cut_off.path, ARGUMENTS, resume=True)):
        assert folder.once("fold-0", work) == {"score": 0.5}
    assert calls == ["fold-0"]


def test_work_that_failed_is_done_again(cut_off):
    def fails(folder):
        raise RuntimeError

    with pytest.raises(RuntimeError):
        cut_off.once("fold-0", fails)
    assert cut_off.once("fold-0", lambda folder: 1) == 1


def test_what_is_kept_survives_the_end(cut_off):
    def work(folder):
        (folder / "model").mkdir()
        (folder / "model" / "model.safetensors").write_text("weights")

    cut_off.once("fold-0", work)
    cut_off.keep(cut_off.runs / "fold-0" / "model")
    cut_off.close()
    assert {f.name for f in cut_off.path.iterdir()} == {"model.safetensors", "report"}
