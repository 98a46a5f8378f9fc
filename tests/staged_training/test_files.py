"""Files are written whole or not at all."""

import errno
import resource

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from staged_training.runtime.errors import InputError
from staged_training.runtime.files import check_replaceable, unwritable_reported, written_whole


def test_a_file_appears_when_it_is_complete(tmp_path):
    target = tmp_path / "new" / "file.txt"
    with written_whole(target) as path:
        path.write_text("all")
        assert not target.exists()
    assert target.read_text() == "all"
    assert [file.name for file in target.parent.iterdir()] == ["file.txt"]


def test_a_failure_leaves_what_was_there(tmp_path):
    target = tmp_path / "file.txt"
    target.write_text("old")
    with pytest.raises(KeyboardInterrupt), written_whole(target) as path:
        path.write_text("hal")
        raise KeyboardInterrupt
    assert target.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["file.txt"]


def test_a_folder_replaces_the_folder_that_was_there(tmp_path):
    target = tmp_path / "model"
    target.mkdir()
    (target / "old.bin").write_text("old")
    with written_whole(target) as path:
        path.mkdir()
        (path / "new.bin").write_text("new")
    assert [file.name for file in target.iterdir()] == ["new.bin"]


def test_only_a_model_or_nothing_may_be_replaced_by_a_model(tmp_path):
    check_replaceable(tmp_path / "new")
    check_replaceable(tmp_path)
    (tmp_path / "letters.txt").write_text("years of work")
    with pytest.raises(InputError, match="holds something other than a model"):
        check_replaceable(tmp_path)
    with pytest.raises(InputError, match="holds something other than a model"):
        check_replaceable(tmp_path / "letters.txt")
    (tmp_path / "config.json").write_text("{}")
    check_replaceable(tmp_path)


WEIGHTS = {"weight": torch.zeros(500_000)}


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(bytes(2_000_000)),
        lambda path: save_file(WEIGHTS, path),
        lambda path: torch.save(WEIGHTS, path),
    ],
)
def test_a_full_disk_is_told_with_the_path_whatever_writes(write, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(InputError) as told, written_whole(tmp_path / "model") as path:
            write(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(told.value).startswith(f"{tmp_path / 'model'} cannot be written (File too large)")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_told_where_there_is_room_again_when_it_is_asked(tmp_path):
    """safetensors removes what it wrote, and then there is room for less."""
    full = SafetensorError("Error while serializing: I/O error: No space left (os error 28)")
    told = pytest.raises(InputError, match="model cannot be written \\(No space left on device")
    with told, written_whole(tmp_path / "model"):
        raise full


def test_other_errors_are_not_told_as_those_of_a_disk(tmp_path):
    with pytest.raises(RuntimeError, match="shapes"), written_whole(tmp_path / "model"):
        raise RuntimeError("shapes")
    with pytest.raises(InterruptedError), unwritable_reported():
        raise InterruptedError(errno.EINTR, "Interrupted system call")


@pytest.mark.parametrize("name", ["absent", "a" * 300, "b/" * 3000, "file/within", "."])
def test_a_path_that_leads_nowhere_is_told(name, tmp_path):
    (tmp_path / "file").touch()
    told = pytest.raises(InputError, match=r"cannot be read or written .*Check the path")
    with told, unwritable_reported():
        (tmp_path / name).read_text()


def test_a_disk_that_may_not_be_written_to_is_told_with_the_file(tmp_path):
    with pytest.raises(InputError, match="out cannot be read or written"), unwritable_reported():
        raise OSError(errno.EROFS, "Read-only file system", "out")


def test_weights_have_the_rights_of_the_files_beside_them(tmp_path):
    with written_whole(tmp_path / "model") as folder:
        folder.mkdir()
        (folder / "config.json").touch()
        save_file({"weight": torch.ones(2)}, folder / "model.safetensors")
    with written_whole(tmp_path / "alone.safetensors") as path:
        save_file({"weight": torch.ones(2)}, path)
    (tmp_path / "usual").touch()
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(files) == 4
    assert len({file.stat().st_mode for file in files}) == 1
