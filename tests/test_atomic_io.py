"""Atomic writes, and the check of input files."""

import stat

import pytest

from kinema.atomic_io import atomic_write, file_sha256, require_readable, write_bytes, write_text
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
        with atomic_write(tmp_path / "a.mp4") as temporary:
            assert temporary.suffix == ".mp4"
            temporary.write_text("half")
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


def test_unreadable_input_files_are_user_errors(tmp_path):
    (tmp_path / "empty.mp4").touch()
    for name, message in (("missing.mp4", "does not exist"), ("empty.mp4", "is empty")):
        with pytest.raises(UserError, match=message):
            require_readable(tmp_path / name)
    assert require_readable(tmp_path) == tmp_path


def test_file_sha256_is_that_of_the_standard(tmp_path):
    # FIPS 180-2, appendix B.1.
    (tmp_path / "a.txt").write_text("abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_sha256(tmp_path / "a.txt") == expected


def test_close_match_is_suggested():
    assert did_you_mean("colide", ["collide", "roll"]) == " (did you mean 'collide'?)"
    assert did_you_mean("zzz", ["collide", "roll"]) == ""
