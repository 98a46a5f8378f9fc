"""Files are written whole or not at all."""

import pytest

from staged_training.errors import InputError
from staged_training.files import check_replaceable, written_whole


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
    with pytest.raises(InputError, match="holds something that is no model"):
        check_replaceable(tmp_path)
    with pytest.raises(InputError, match="holds something that is no model"):
        check_replaceable(tmp_path / "letters.txt")
    (tmp_path / "config.json").write_text("{}")
    check_replaceable(tmp_path)
