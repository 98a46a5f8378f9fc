"""Files are written whole or not at all."""

import pytest

from staged_training.files import written_whole


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
