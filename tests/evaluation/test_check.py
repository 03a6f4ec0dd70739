"""The check of one video file against its prompt: the simulator is the oracle; other prompts must fail."""

from __future__ import annotations

import json
import sys
import types

import pytest

from kinema.evaluation import check
from kinema.evaluation.check import check_video
from kinema.media import write_video
from kinema.simulator.captions import generate_captions
from kinema.simulator.clip import ClipSpec, make_clip


@pytest.fixture(scope="module")
def rolling(tmp_path_factory):
    """A video of a ball that rolls, and its prompt."""
    spec = ClipSpec(
        seed=5000, lab=True, event="roll", outcome="stops", height=64, width=64, num_frames=17, fps=8.0,
        split="train",
    )  # fmt: skip
    clip = make_clip(spec)
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    write_video(path, clip.frames, 8.0)
    return path, generate_captions(clip.annotations)[0].text


def test_a_video_of_the_simulator_passes(rolling):
    path, prompt = rolling
    result = check_video(path, prompt)
    assert result.scored
    assert result.is_correct
    assert result.verdicts["direction"]
    assert result.objects[0].startswith("1 ")


def test_a_rewritten_prompt_is_what_is_checked(rolling, monkeypatch):
    path, prompt = rolling
    own = "off it goes, and then it stops"
    assert not check_video(path, own).scored
    metadata = types.SimpleNamespace(rewritten_prompts=((own, prompt),))
    monkeypatch.setattr(check, "read_metadata", lambda _: metadata)
    result = check_video(path, own)
    assert result.scored
    assert result.is_correct
    assert result.prompt == prompt


def test_the_opposite_direction_fails(rolling):
    path, prompt = rolling
    words = {"left": "right", "right": "left", "toward": "away from", "away from": "toward"}
    other = next(prompt.replace(word, opposite) for word, opposite in words.items() if word in prompt)
    result = check_video(path, other)
    assert result.scored
    assert not result.is_correct
    assert not result.verdicts["direction"]
    assert result.verdicts["colour"]


def test_a_prompt_of_another_world_is_not_scored(rolling):
    result = check_video(rolling[0], "a dog in the rain")
    assert not result.scored
    assert "cannot parse" in result.reason
    assert result.is_correct is None


def test_from_left_to_right_is_to_the_right(rolling):
    path, prompt = rolling
    rightward = "from left to right" if "to the right" in prompt else "from right to left"
    other = prompt.replace("to the right", rightward).replace("to the left", rightward)
    assert check_video(path, other) == check_video(path, prompt)


def test_the_process_writes_one_object_and_one_line_of_error(rolling, tmp_path, monkeypatch, capsys):
    path, prompt = rolling
    monkeypatch.setattr(sys, "argv", ["check", str(path), prompt])
    check.main()
    assert json.loads(capsys.readouterr().out)["is_correct"] is True
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(b"no video")
    monkeypatch.setattr(sys, "argv", ["check", str(damaged), prompt])
    with pytest.raises(SystemExit) as caught:
        check.main()
    assert caught.value.code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
