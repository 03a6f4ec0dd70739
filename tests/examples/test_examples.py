"""The examples run as they are, in an empty folder, with fewer solver steps."""

import dataclasses
import json
import runpy
import sys
from pathlib import Path

import pytest

from kinema.media import read_video
from kinema.pipeline import pipeline

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def few_steps(monkeypatch, tmp_path):
    """An empty working folder, and two solver steps where an example leaves their number to the model."""
    open_model = pipeline.open_model

    def open_with_few_steps(name, **parts):
        model = open_model(name, **parts)
        defaults = dataclasses.replace(model.sampling_defaults, num_inference_steps=2)
        return dataclasses.replace(model, sampling_defaults=defaults)

    monkeypatch.setattr(pipeline, "open_model", open_with_few_steps)
    monkeypatch.chdir(tmp_path)


def run_example(monkeypatch, name, *arguments):
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def test_text_to_video(monkeypatch, capsys):
    run_example(monkeypatch, "01_text_to_video.py")
    assert read_video("video.mp4").frames.shape == (17, 128, 128, 3)
    output = capsys.readouterr().out
    assert "step 8 of 8, sigma 0.00" in output
    assert "17 of 17 frames" in output


def test_image_to_video(monkeypatch):
    run_example(monkeypatch, "02_image_to_video.py")
    first_image = read_video("first.png").frames[0].astype(float)
    first_frame = read_video("first_and_last.mp4").frames[0].astype(float)
    assert abs(first_image - first_frame).mean() < 10
    assert len(read_video("keyframes.mp4").frames) == 14


def test_extend_and_interpolate(monkeypatch, capsys):
    run_example(monkeypatch, "03_extend_and_interpolate.py")
    assert "extended from 17 to 33 frames" in capsys.readouterr().out
    assert len(read_video("longer.mp4").frames) == 33
    assert len(read_video("both.mp4").frames) == 42
    assert len(read_video("edited.mp4").frames) == 17


def test_storyboard(monkeypatch, capsys):
    run_example(monkeypatch, "04_storyboard.py")
    assert "4.00 s, 32 frames" in capsys.readouterr().out
    assert len(read_video("storyboard.mp4").frames) == 32
    assert read_video("loop.gif").frames.shape[1:] == (128, 128, 3)


@pytest.mark.slow
def test_train_tiny_model(monkeypatch, capsys):
    run_example(monkeypatch, "05_train_tiny_model.py", "1")
    assert "GeneratedVideo(9 frames, 32x32" in capsys.readouterr().out
    assert Path("run/weights/kinema.json").is_file()


def test_evaluate(monkeypatch, capsys):
    run_example(monkeypatch, "06_evaluate.py")
    output = capsys.readouterr().out
    assert output.count("binding") == 2
    assert output.count("left/right") == 1


@pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")
def test_serve_client(monkeypatch, capsys, tmp_path):
    pytest.importorskip("fastapi")
    pytest.importorskip("openai")
    from tests.fixtures.server import running_server

    with running_server(tmp_path / "data") as server:
        run_example(monkeypatch, "07_serve_client.py", server.url.removesuffix("/v1"))
    assert "completed" in capsys.readouterr().out
    assert len(read_video("served.mp4").frames) > 1


def test_notebook():
    notebook = json.loads((EXAMPLES / "quickstart.ipynb").read_text(encoding="utf-8"))
    namespace: dict[str, object] = {"display": lambda value: value._repr_html_()}
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert cells
    for cell in cells:
        assert not cell["outputs"], "the notebook is stored without outputs"
        exec(compile("".join(cell["source"]), "quickstart.ipynb", "exec"), namespace)
