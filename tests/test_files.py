"""Files are whole or absent."""

import stat

import pytest

from kinema.errors import UserError, nearest
from kinema.files import atomic_path, write_bytes, write_text


def test_a_file_is_written_and_replaced(tmp_path):
    write_text(tmp_path / "a.txt", "one")
    write_bytes(tmp_path / "a.txt", b"two")
    assert (tmp_path / "a.txt").read_text() == "two"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) & 0o600 == 0o600


def test_what_fails_leaves_what_was_there(tmp_path):
    write_text(tmp_path / "a.mp4", "before")

    def half():
        with atomic_path(tmp_path / "a.mp4") as beside:
            assert beside.suffix == ".mp4"
            beside.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half()
    assert (tmp_path / "a.mp4").read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_no_folder_and_a_folder_are_clear_lines(tmp_path):
    with pytest.raises(UserError, match="not a folder"), atomic_path(tmp_path / "none" / "a.txt"):
        pass
    with pytest.raises(UserError, match="is a folder"), atomic_path(tmp_path):
        pass


def test_the_nearest_name_is_offered():
    assert nearest("colide", ["collide", "roll"]) == " (did you mean 'collide'?)"
    assert nearest("zzz", ["collide", "roll"]) == ""
