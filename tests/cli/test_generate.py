"""`kinema generate` and `kinema estimate` with a small Wan checkpoint of random weights."""

from __future__ import annotations

import pytest

from kinema.cli import main
from kinema.media.read import read_video
from tests.fixtures import wan_fixtures


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return wan_fixtures.Saved(tmp_path_factory.mktemp("wan"))


def test_generate_writes_the_video_and_prints_a_summary(saved, tmp_path, capsys):
    out = tmp_path / "video.mp4"
    model = str(saved["t2v-2.1"])
    main(["generate", "a red ball", "--model", model, "--size", "64x48", "--seconds", "0.5",
          "--num-inference-steps", "2", "--seed", "7", "--out", str(out)])  # fmt: skip
    printed = capsys.readouterr().out
    assert str(out) in printed
    assert "9 frames at 64x48" in printed
    assert "seed 7" in printed
    video = read_video(out)
    assert video.frames.shape == (9, 48, 64, 3)
    assert video.fps == 16


def test_estimate_prints_every_stage(saved, capsys):
    main(["estimate", "--model", str(saved["t2v-2.1"]), "--size", "64x64", "--seconds", "1"])
    printed = capsys.readouterr().out
    assert all(stage in printed for stage in ("text", "sample", "decode", "total", "available:"))
    assert "17 frames at 64x64" in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--size", "64"], "is not a size"),
        (["--size", "65x64"], "the nearest is 64x64"),
        (["--seconds", "0"], "give no video"),
        (["--out", "video.xyz"], "video.xyz"),
        (["--dtype", "float8"], "is not a dtype"),
        (["--memory", "none"], "memory can't be"),
        (["--model", "nobody"], "there is no model"),
        (["--size", "8192x8192"], "what fits"),
        (["--num-frames", "9", "--seconds", "1"], "give one of them"),
        (["--negative-prompt", "a\x1b[2Jball"], "control character U+001B"),
    ],
)
def test_mistakes_end_in_one_line(saved, capsys, options, message):
    arguments = ["generate", "a ball", *options]
    if "--model" not in options:
        arguments += ["--model", str(saved["t2v-2.1"])]
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    # A mistake that is found late comes after the line that says which kind of model a folder is.
    *kind, printed = capsys.readouterr().err.strip().splitlines()
    assert len(kind) <= 1
    assert printed.startswith("kinema: ")
    assert message in printed
