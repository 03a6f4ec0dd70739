"""States of interrupted generations: nothing that is damaged continues."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from kinema.errors import UserError
from kinema.pipeline.metadata import GenerationMetadata
from kinema.pipeline.progress import SamplerState
from kinema.pipeline.reproduce import SavedGeneration, load_state
from kinema.pipeline.request import VideoRequest

METADATA = GenerationMetadata(
    model="world", fingerprint="f", request=VideoRequest(prompt="a ball"), device="cpu", dtype="float32",
    int8=False, kinema="0", torch="0",
)  # fmt: skip


def save_state(path: Path, latents: torch.Tensor | None = None, index: int = 3) -> bytes:
    if latents is None:
        latents = torch.arange(48.0).reshape(1, 3, 1, 4, 4)
    SavedGeneration(metadata=METADATA, sampler_state=SamplerState(index=index, latents=latents)).save(path)
    return path.read_bytes()


def header_of(data: bytes) -> tuple[int, dict]:
    length = int.from_bytes(data[:8], "little")
    return length, json.loads(data[8 : 8 + length])


def test_a_state_comes_back(tmp_path):
    save_state(tmp_path / "a.state")
    saved = load_state(tmp_path / "a.state")
    assert saved.sampler_state.index == 3
    assert torch.equal(saved.sampler_state.latents, torch.arange(48.0).reshape(1, 3, 1, 4, 4))
    assert saved.metadata.to_dict() == METADATA.to_dict()


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0, 1, exclude_max=True), st.integers(0, 7))
def test_a_flipped_bit_anywhere_is_noticed(tmp_path, place, bit):
    data = bytearray(save_state(tmp_path / "a.state"))
    data[int(place * len(data))] ^= 1 << bit
    (tmp_path / "a.state").write_bytes(data)
    before = json.dumps(METADATA.to_dict())
    try:
        saved = load_state(tmp_path / "a.state")
    except UserError:
        return
    # Spaces of the header are not part of what is saved.
    assert saved.sampler_state.index == 3
    assert torch.equal(saved.sampler_state.latents, torch.arange(48.0).reshape(1, 3, 1, 4, 4))
    assert json.dumps(saved.metadata.to_dict()) == before


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_latents_that_are_not_numbers_are_refused(tmp_path, value):
    latents = torch.zeros(1, 3, 1, 4, 4)
    latents[0, 1, 0, 2, 3] = value
    save_state(tmp_path / "a.state", latents)
    with pytest.raises(UserError, match="not numbers"):
        load_state(tmp_path / "a.state")


def test_other_files_and_versions_are_refused(tmp_path):
    data = save_state(tmp_path / "a.state")
    length, header = header_of(data)
    for content in (b"", b"x", data[:20], data[: length + 8], data[:-1], data + b"x"):
        (tmp_path / "b.state").write_bytes(content)
        with pytest.raises(UserError, match="no state"):
            load_state(tmp_path / "b.state")
    for change in ({"format": "2"}, {"format": None}, {"index": "x"}, {"index": "-1"}, {"sha256": "0"}):
        metadata = {**header["__metadata__"], **change}
        metadata = {name: value for name, value in metadata.items() if value is not None}
        save_file(load_file(tmp_path / "a.state"), tmp_path / "b.state", metadata=metadata)
        with pytest.raises(UserError, match=r"no state|damaged"):
            load_state(tmp_path / "b.state")
    with pytest.raises(UserError, match="does not exist"):
        load_state(tmp_path / "none.state")
    with pytest.raises(UserError, match="no state"):
        load_state(tmp_path)


def test_a_resumed_video_replaces_no_file_unasked(tmp_path, capsys, monkeypatch):
    """The state names no output: whoever wrote it would choose the file that is overwritten."""
    from kinema.cli import main

    monkeypatch.chdir(tmp_path)
    save_state(tmp_path / "notes.txt.state")
    save_state(tmp_path / "notes.mp4")
    (tmp_path / "notes.txt").write_text("mine")
    for name, reason in (
        ("notes.txt.state", "notes.txt exists already"),
        ("notes.mp4", "does not end in .state"),
    ):
        with pytest.raises(SystemExit):
            main(["resume", name])
        assert f"{reason}; say where the video goes: --out FILE" in capsys.readouterr().err
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 3
