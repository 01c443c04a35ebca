"""Files are written whole, and nothing but a regular file is replaced."""

import os

import pytest

from slowfast_ac.errors import InputError
from slowfast_ac.files import atomic_path, check_folder, write_text


def test_a_failed_writer_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a.txt", "old")]


def test_a_pipe_or_folder_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(InputError, match=f"{name}: is not a regular file; choose another"):
            write_text(tmp_path / name, "text")
    assert {path.name for path in tmp_path.iterdir()} == {"pipe", "folder"}
    assert (tmp_path / "pipe").is_fifo()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="^--output: .*a/b cannot be made, since .*/file is a"):
        check_folder(tmp_path / "file/a/b", "--output")
    check_folder(tmp_path / "new/folder", "--output")
    assert not (tmp_path / "new").exists()
