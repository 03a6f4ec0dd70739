"""Files are whole or absent."""

import stat

import pytest

from kinema.atomic_io import atomic_write, write_bytes, write_text
from kinema.errors import UserError, did_you_mean


def test_write_and_replace(tmp_path):
    write_text(tmp_path / "a.txt", "one")
    write_bytes(tmp_path / "a.txt", b"two")
    assert (tmp_path / "a.txt").read_text() == "two"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) & 0o600 == 0o600


def test_failure_keeps_the_old_file(tmp_path):
    write_text(tmp_path / "a.mp4", "before")

    def half():
        with atomic_write(tmp_path / "a.mp4") as beside:
            assert beside.suffix == ".mp4"
            beside.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half()
    assert (tmp_path / "a.mp4").read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_missing_directory_and_directory_target_are_user_errors(tmp_path):
    with pytest.raises(UserError, match="not a folder"), atomic_write(tmp_path / "none" / "a.txt"):
        pass
    with pytest.raises(UserError, match="is a folder"), atomic_write(tmp_path):
        pass


def test_close_match_is_suggested():
    assert did_you_mean("colide", ["collide", "roll"]) == " (did you mean 'collide'?)"
    assert did_you_mean("zzz", ["collide", "roll"]) == ""
