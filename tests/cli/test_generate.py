"""`kinema generate` and `kinema plan` as a person meets them."""

from __future__ import annotations

import pytest

from kinema.cli import main
from kinema.media.read import read_video
from tests.fixtures import wan_fixtures


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return wan_fixtures.Saved(tmp_path_factory.mktemp("wan"))


def test_generate_writes_the_video_and_prints_a_summary(saved, tmp_path, capsys):
    out = tmp_path / "film.mp4"
    model = str(saved["t2v-2.1"])
    main(["generate", "a red ball", "--model", model, "--size", "64x48", "--seconds", "0.5",
          "--steps", "2", "--seed", "7", "--out", str(out)])  # fmt: skip
    told = capsys.readouterr().out
    assert str(out) in told
    assert "9 frames at 64x48" in told
    assert "seed 7" in told
    film = read_video(out)
    assert film.frames.shape == (9, 48, 64, 3)
    assert film.fps == 16


def test_plan_prints_every_stage(saved, capsys):
    main(["plan", "--model", str(saved["t2v-2.1"]), "--size", "64x64", "--seconds", "1"])
    told = capsys.readouterr().out
    assert all(stage in told for stage in ("text", "steps", "decode", "all", "free:"))
    assert "17 frames at 64x64" in told


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        (["--size", "64"], "is not a size"),
        (["--size", "65x64"], "the nearest is 64x64"),
        (["--seconds", "0"], "make no film"),
        (["--out", "film.xyz"], "film.xyz"),
        (["--dtype", "float8"], "no type to run in"),
        (["--memory", "none"], "memory can't be"),
        (["--model", "nobody"], "there is no model"),
        (["--size", "8192x8192"], "what fits"),
    ],
)
def test_mistakes_end_in_one_line(saved, capsys, wish, message):
    given = ["generate", "a ball", *wish]
    if "--model" not in wish:
        given += ["--model", str(saved["t2v-2.1"])]
    with pytest.raises(SystemExit) as stopped:
        main(given)
    assert stopped.value.code == 2
    told = capsys.readouterr().err.strip()
    assert told.startswith("kinema: ")
    assert message in told
    assert "\n" not in told
