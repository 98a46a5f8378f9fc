"""The output folder of a recipe: nothing in it is lost, nothing is done twice."""

import os
import shutil
import signal
import time
from contextlib import contextmanager
from multiprocessing import get_context

import numpy as np
import pytest
from joblib import Parallel, delayed
from torch.utils.data import DataLoader

from staged_training import InputError
from staged_training.experiment import run_folder
from staged_training.experiment.run_folder import RunFolder
from staged_training.runtime.files import PARTIAL

ARGUMENTS = {"seed": 0, "folds": "all"}


FORK = get_context("fork")  # with all that is imported here, which takes seconds


def work_in(folder, tell):
    run = RunFolder(folder, ARGUMENTS, resume=False)
    run.open()
    child = FORK.Process(target=time.sleep, args=(60,))
    child.start()
    tell.send(child.pid)
    child.join()


@contextmanager
def another_at_work(folder):
    """A process that is at work in a folder, with one that it started."""
    told, tell = FORK.Pipe(duplex=False)
    process = FORK.Process(target=work_in, args=(folder, tell))
    process.start()
    child = told.recv()
    yield process
    process.kill()
    process.join()
    os.kill(child, signal.SIGKILL)


@pytest.fixture
def cut_off(tmp_path):
    folder = RunFolder(tmp_path / "out", ARGUMENTS, resume=False)
    folder.open()
    return folder


@pytest.fixture
def at_work(tmp_path):
    """A folder in which another process is at work, and that process."""
    folder = tmp_path / "busy"
    with another_at_work(folder) as process:
        yield folder, process


def test_nothing_is_made_before_it_is_opened(tmp_path):
    RunFolder(tmp_path / "out", ARGUMENTS, resume=False)
    assert not (tmp_path / "out").exists()


def change(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


@pytest.mark.parametrize(
    "changed",
    [
        lambda data: change(data / "mail.csv", "text,label\na,y\nb,x\n"),  # labels swapped
        lambda data: change(data / "mail.csv", "text,label\na,x\n"),  # a row removed
        lambda data: change(data / "new.csv", "text,label\na,x\nb,y\n"),
        lambda data: (data / "mail.csv").rename(data / "post.csv"),
        lambda data: change(data / "sub" / "deep.txt", "c"),
        lambda data: (data / "sub").rename(data / "top"),  # the name of a folder may be a label
    ],
)
def test_a_run_is_not_resumed_on_other_data(changed, tmp_path):
    data = tmp_path / "data"
    change(data / "mail.csv", "text,label\na,x\nb,y\n")
    change(data / "sub" / "deep.txt", "b")
    asked = {"data": str(data), "label_column": "label", "names": ["a"], "seed": 0}
    output = data / "out"  # which does not count as data
    RunFolder(output, asked, resume=False).open()
    change(data / ".DS_Store", "the place of a window")
    RunFolder(output, asked, resume=True).open()
    changed(data)
    with pytest.raises(InputError, match="the content of `data` has changed"):
        RunFolder(output, asked, resume=True)


def test_a_run_is_not_resumed_on_other_images_than_a_table_named(tmp_path):
    photo = tmp_path / "photo.jpg"
    change(photo, "a cat")
    RunFolder(tmp_path / "out", ARGUMENTS, resume=False).open([photo])
    RunFolder(tmp_path / "out", ARGUMENTS, resume=True).open([photo])
    change(photo, "a dog")
    with pytest.raises(InputError, match="the content of the data has changed"):
        RunFolder(tmp_path / "out", ARGUMENTS, resume=True).open([photo])


@pytest.mark.parametrize(
    "given, read",
    [
        ("words.kv", "words.kv.vectors.npy"),
        ("words.zip/words.txt", "words.zip"),
        ("model.safetensors", "tokenizer.json"),
    ],
)
def test_what_is_read_along_with_what_was_given_counts_too(given, read, tmp_path):
    data, asked = tmp_path / "data", {"data": str(tmp_path / "data" / given)}
    for file in ("words.kv", "model.safetensors", read):
        change(data / file, "before")
    RunFolder(tmp_path / "out", asked, resume=False).open()
    change(data / "another.txt", "of no matter")
    RunFolder(tmp_path / "out", asked, resume=True).open()
    change(data / read, "after")
    with pytest.raises(InputError, match="the content of `data` has changed"):
        RunFolder(tmp_path / "out", asked, resume=True)


def test_a_run_is_not_resumed_with_other_labels_than_were_read(tmp_path):
    read = [["a mail", "another"], np.array([0, 1])]
    RunFolder(tmp_path / "out", ARGUMENTS, resume=False).open((), *read)
    RunFolder(tmp_path / "out", ARGUMENTS, resume=True).open((), *read)
    with pytest.raises(InputError, match="the content of the data has changed"):
        RunFolder(tmp_path / "out", ARGUMENTS, resume=True).open((), read[0], read[1][::-1])


def test_a_run_is_not_resumed_on_other_libraries(cut_off, monkeypatch):
    others = {**run_folder.versions(), "torch": "1.0"}
    monkeypatch.setattr(run_folder, "versions", lambda: others)
    with pytest.raises(InputError, match="torch has another version now"):
        RunFolder(cut_off.path, ARGUMENTS, resume=True)


@pytest.mark.parametrize("damage", [b"", b"[", b'{"asked": {}', b"\xff", b"[" * 10**5])
def test_a_damaged_record_is_told(cut_off, damage):
    cut_off.run_cached("part", lambda folder: 1)
    (cut_off.runs / "part" / "done.json").write_bytes(damage)
    with pytest.raises(InputError, match=r"part/done\.json is damaged. Delete .*/part to run that"):
        cut_off.run_cached("part", lambda folder: 1)
    (cut_off.runs / "arguments.json").write_bytes(damage)
    with pytest.raises(InputError, match=r"arguments\.json is damaged. Delete .*/runs to run that"):
        RunFolder(cut_off.path, ARGUMENTS, resume=True)


def test_a_record_of_another_kind_is_told(cut_off):
    (cut_off.runs / "arguments.json").write_text("[]")
    with pytest.raises(InputError, match=r"arguments\.json is damaged. Delete .*/runs to run that"):
        RunFolder(cut_off.path, ARGUMENTS, resume=True)


def write_examples(folder):
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text("{}")
    (folder / "examples.safetensors").write_bytes(b"0123")
    return {"score": 0.5}


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "examples.safetensors").write_bytes(b"0124"),
        lambda folder: (folder / "examples.safetensors").unlink(),
        lambda folder: (folder / "model" / "config.json").write_text("[]"),
        lambda folder: (folder / "model").rename(folder / "models"),
        lambda folder: (folder / "model" / "another").touch(),
        lambda folder: change(
            folder / "done.json", (folder / "done.json").read_text().replace("0.5", "0.6")
        ),
        lambda folder: change(folder / "done.json", '{"score": 0.5}'),
        lambda folder: change(folder / "done.json", "[]"),
    ],
)
def test_what_was_done_is_gone_on_with_only_as_it_was_left(damage, cut_off):
    cut_off.run_cached("part", write_examples)
    damage(cut_off.runs / "part")
    with pytest.raises(InputError, match=r"part/done\.json is damaged. Delete .*/part to run that"):
        cut_off.run_cached("part", write_examples)
    shutil.rmtree(cut_off.runs / "part")
    assert cut_off.run_cached("part", write_examples) == {"score": 0.5}


def test_curves_may_still_grow_when_a_piece_of_work_is_done(tmp_path):
    run = RunFolder(tmp_path / "tensorboard" / "out", ARGUMENTS, resume=False)
    run.open()
    run.run_cached("part", write_examples)
    change(run.runs / "part" / "tensorboard" / "events", "more")
    assert run.run_cached("part", write_examples) == {"score": 0.5}
    change(run.runs / "part" / "examples.safetensors", "more")
    with pytest.raises(InputError, match="is damaged"):
        run.run_cached("part", write_examples)


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
    with pytest.raises(InputError, match="Add `resume`"):
        RunFolder(cut_off.path, ARGUMENTS, resume=False)
    RunFolder(cut_off.path, ARGUMENTS, resume=True)


def test_a_run_is_not_resumed_with_other_arguments(cut_off):
    with pytest.raises(InputError, match="`seed` was 0 and is 1"):
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
        assert folder.run_cached("fold-0", work) == {"score": 0.5}
    assert calls == ["fold-0"]


def test_work_that_failed_is_done_again(cut_off):
    def fails(folder):
        raise RuntimeError

    with pytest.raises(RuntimeError):
        cut_off.run_cached("fold-0", fails)
    assert cut_off.run_cached("fold-0", lambda folder: 1) == 1


@pytest.mark.parametrize("replaced", [False, True])
@pytest.mark.parametrize("step", ["run_cached", "work", "publish", "close"])
def test_a_folder_that_vanishes_while_a_run_is_at_work_is_told(step, replaced, cut_off):
    def vanish(*_):
        shutil.rmtree(cut_off.path)
        if replaced:
            cut_off.path.write_text("")
        return 1

    steps = {
        "run_cached": lambda: cut_off.run_cached("fold-0", lambda folder: 1),
        "work": lambda: cut_off.run_cached("fold-0", vanish),
        "publish": lambda: cut_off.publish(cut_off.runs / "fold-0"),
        "close": cut_off.close,
    }
    if step != "work":
        vanish()
    with pytest.raises(InputError, match="out was removed or replaced while a run wrote to it"):
        steps[step]()
    assert cut_off.path.exists() == replaced


def test_a_folder_that_vanishes_as_a_run_ends_is_told(cut_off, monkeypatch):
    rmtree = shutil.rmtree
    monkeypatch.setattr(run_folder.shutil, "rmtree", lambda _: rmtree(cut_off.path))
    with pytest.raises(InputError, match="out was removed or replaced while a run wrote to it"):
        cut_off.close()


def test_what_is_kept_survives_the_end(cut_off):
    def work(folder):
        (folder / "model").mkdir()
        (folder / "model" / "model.safetensors").write_text("weights")

    cut_off.run_cached("fold-0", work)
    cut_off.publish(cut_off.runs / "fold-0" / "model")
    cut_off.close()
    assert {f.name for f in cut_off.path.iterdir()} == {"model.safetensors", "report"}


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_in_which_another_run_is_at_work_is_refused(at_work, resume):
    folder, _ = at_work
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    with pytest.raises(InputError, match="is in use: another run writes to it"):
        RunFolder(folder, ARGUMENTS, resume=resume)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def is_refused(folder):
    """Whether another process cannot resume the run of a folder."""
    process = FORK.Process(target=RunFolder, args=(folder, ARGUMENTS), kwargs={"resume": True})
    process.start()
    process.join()
    return process.exitcode != 0


def test_workers_neither_keep_nor_break_the_lock_of_a_run(cut_off):
    outliving = FORK.Process(target=time.sleep, args=(60,))
    outliving.start()
    loader = DataLoader(range(4), num_workers=2, multiprocessing_context="fork")
    assert len(list(loader)) == 4  # its workers came and went
    Parallel(2)(delayed(os.getpid)() for _ in range(2))  # these stay for more work
    assert is_refused(cut_off.path)
    cut_off._lock.release(force=True)  # as `close` does
    assert not is_refused(cut_off.path)
    outliving.kill()
    outliving.join()


def test_of_two_runs_that_begin_together_the_first_to_write_goes_on(tmp_path):
    waiting = RunFolder(tmp_path / "busy", ARGUMENTS, resume=False)  # while it reads its data
    with another_at_work(waiting.path), pytest.raises(InputError, match="is in use"):
        waiting.open()


def test_a_run_that_another_one_finished_meanwhile_is_not_begun_again(tmp_path):
    first, second = (RunFolder(tmp_path / "out", ARGUMENTS, resume=True) for _ in range(2))
    first.open()
    (first.report / "results.json").write_text("{}")
    first.close()
    with pytest.raises(InputError, match="holds a finished run"):
        second.open()
    assert not second.runs.exists()


def test_a_killed_run_can_be_resumed_at_once_though_its_children_live(at_work):
    folder, process = at_work
    process.kill()
    process.join()
    resumed = RunFolder(folder, ARGUMENTS, resume=True)
    resumed.open()
    (resumed.report / "results.json").write_text("{}")
    resumed.close()
    assert [path.name for path in folder.iterdir()] == ["report"]  # no lock is left


def test_a_run_that_was_killed_as_it_began_is_begun_again(tmp_path):
    runs = tmp_path / "out" / "runs"
    (runs / f".arguments.json-1{PARTIAL}").mkdir(parents=True)
    (runs / "lock").touch()
    for resume in (True, False):
        RunFolder(tmp_path / "out", ARGUMENTS, resume=resume)
    RunFolder(tmp_path / "out", ARGUMENTS, resume=False).open()
    assert {path.name for path in runs.iterdir()} == {"arguments.json", "lock"}


def test_what_was_being_written_at_a_kill_is_removed_when_the_run_goes_on(cut_off):
    left = [cut_off.runs / "fold-0" / f".done.json-1{PARTIAL}", cut_off.path / f".a{PARTIAL}"]
    for folder in left:
        folder.mkdir(parents=True)
        (folder / "half").write_text("ha")
    RunFolder(cut_off.path, ARGUMENTS, resume=True).open()
    assert not any(folder.exists() for folder in left)


def test_a_kill_amid_the_final_clean_up_leaves_a_finished_run(cut_off, monkeypatch):
    def killed(path):
        (path / "arguments.json").unlink(missing_ok=True)
        raise KeyboardInterrupt

    (cut_off.runs / "fold-0").mkdir()
    (cut_off.report / "results.json").write_text("{}")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shutil, "rmtree", killed)
        cut_off.close()
    with pytest.raises(InputError, match="holds a finished run"):
        RunFolder(cut_off.path, ARGUMENTS, resume=True)
    assert [path.name for path in cut_off.path.iterdir()] == ["report"]


def test_a_kill_while_a_model_is_kept_leaves_no_half_of_it(cut_off, monkeypatch):
    def killed(source, target):
        target.write_text("wei")
        raise KeyboardInterrupt

    model = cut_off.runs / "fold-0" / "model"
    model.mkdir(parents=True)
    (model / "model.safetensors").write_text("weights")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shutil, "copy2", killed)
        cut_off.publish(model)
    assert not (cut_off.path / "model.safetensors").exists()


def test_stages_of_a_piece_go_when_its_result_is_written_and_not_before(cut_off):
    def train(folder):
        (folder / "proxy" / "_stages" / "head").mkdir(parents=True, exist_ok=True)
        return object() if fails else 1

    stages = cut_off.runs / "fold-0" / "proxy" / "_stages"
    fails = True
    with pytest.raises(TypeError):  # no JSON
        cut_off.run_cached("fold-0", train)
    assert (stages / "head").exists()
    fails = False
    assert cut_off.run_cached("fold-0", train) == 1
    assert not stages.exists()
    (stages / "left by a kill").mkdir(parents=True)
    assert cut_off.run_cached("fold-0", train) == 1
    assert not stages.exists()
