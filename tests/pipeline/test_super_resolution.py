"""Upscaling by a super-resolution network: every frame once, with its neighbours, in parts or at once."""

import json
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import kinema
from kinema.frames import to_frames, to_model_range
from kinema.models.formats.fingerprint import fingerprint
from kinema.models.formats.loader import open_model
from kinema.models.formats.native import save_super_resolution
from kinema.pipeline.progress import Finished, FrameChunk, SamplingStep, StageProgress
from kinema.pipeline.super_resolution import enlarge_events
from tests.models.test_super_resolution import trained_network

CPU = torch.device("cpu")


def chunk_events(frames, sizes):
    """The frames as events, in parts of these sizes."""
    done, total = 0, len(frames)
    yield StageProgress(name="text", done=1, total=1)
    for size in sizes:
        part = frames[done : done + size]
        done += len(part)
        if len(part):
            yield FrameChunk(frames=part, done=done, total=total)
    yield Finished(num_frames=total, tail_latents=torch.zeros(1, 4, 1, 2, 2))


@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=6), factor=st.sampled_from([2, 4]))
def test_frames_are_those_of_the_whole_video_however_they_come(sizes, factor):
    count = sum(sizes)
    frames = np.random.default_rng(count).integers(0, 255, (count, 6, 5, 3), dtype=np.uint8)
    network = trained_network()
    events = list(enlarge_events(network, chunk_events(frames, sizes), factor, CPU))
    chunks = [event for event in events if isinstance(event, FrameChunk)]
    assert [chunk.done for chunk in chunks] == np.cumsum([len(chunk.frames) for chunk in chunks]).tolist()
    assert {chunk.total for chunk in chunks} == {count}
    video = to_model_range(frames)
    with torch.no_grad():
        expected = [
            to_frames(network(network.neighbours(video, index))[factor][:, :, None]) for index in range(count)
        ]
    assert np.array_equal(np.concatenate([chunk.frames for chunk in chunks]), np.concatenate(expected))
    assert isinstance(events[-1], Finished)
    assert events[-1].num_frames == count
    assert events[-1].tail_latents is None, "the latents are those of the small video"


def test_steps_can_not_be_resumed():
    step = SamplingStep(
        index=0, total=2, sigma=0.5, latents=torch.zeros(1, 4, 1, 2, 2), clean=torch.zeros(1, 4, 1, 2, 2)
    )
    events = list(enlarge_events(trained_network(), iter([step]), 2, CPU))
    assert [event.resumable for event in events] == [False]


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    """A copy of the shipped model with a small network."""
    folder = tmp_path_factory.mktemp("models") / "model"
    shutil.copytree(open_model("world").folder, folder)
    save_super_resolution(folder, trained_network())
    return folder


def test_a_model_with_a_network_uses_it(model_folder):
    pipe = kinema.load(str(model_folder))
    request = {"prompt": "a red ball rolls to the right", "num_frames": 5, "num_inference_steps": 2}
    small = pipe.generate(**request)
    large = pipe.generate(**request, upscale=2)
    assert large.frames.shape == (5, 256, 256, 3)
    network = pipe.components.super_resolution.get()
    assert isinstance(network, type(trained_network()))
    video = to_model_range(small.frames)
    with torch.no_grad():
        expected = to_frames(network(network.neighbours(video, 2))[2][:, :, None])
    assert np.array_equal(large.frames[2:3], expected)


def test_the_estimate_counts_the_network(model_folder):
    pipe = kinema.load(str(model_folder))
    resolved = pipe.resolve(kinema.VideoRequest(prompt="a red ball", num_frames=5, upscale=4))
    costs = {cost.name: cost for cost in pipe.estimate(resolved).costs}
    from kinema.models.super_resolution import flops_per_pixel

    config = pipe.components.super_resolution.get().config
    assert costs["upscale"].flops == flops_per_pixel(config, factors=(4,)) * 128 * 128 * 5
    assert costs["upscale"].peak_bytes > costs["decode"].peak_bytes


def test_a_saved_model_keeps_its_network(model_folder, tmp_path):
    target = tmp_path / "again"
    kinema.load(str(model_folder)).save(target)
    before, after = (open_model(str(folder)) for folder in (model_folder, target))
    assert after.has_super_resolution
    first, second = (model.load_super_resolution(device=CPU).state_dict() for model in (before, after))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_missing_weights_are_one_line(model_folder, tmp_path):
    folder = shutil.copytree(model_folder, tmp_path / "damaged")
    (folder / "super_resolution" / "model.safetensors").unlink()
    with pytest.raises(kinema.UserError, match="super_resolution"):
        open_model(str(folder)).load_super_resolution(device=CPU)


def write_base(source, target, base):
    """A model's index with a base."""
    target.write_text(json.dumps({**json.loads(source.read_text()), "base": base}))


def test_a_transformer_can_use_the_other_parts_of_a_base(model_folder):
    whole, folder = open_model(str(model_folder)), model_folder.parent / "teacher"
    (folder / "transformer").mkdir(parents=True)
    for file in (model_folder / "transformer").iterdir():
        (folder / "transformer" / file.name).write_bytes(file.read_bytes())
    write_base(model_folder / "kinema.json", folder / "kinema.json", "model")
    model = open_model(str(folder))
    assert model.part("vae") == model_folder / "vae"
    assert model.has_prompt_rewriter == whole.has_prompt_rewriter
    assert model.has_super_resolution
    assert model.base_vocabulary() == whole.base_vocabulary()
    assert set(model.list_tensors("vae")) == set(whole.list_tensors("vae"))
    first = kinema.load(str(folder)).generate("a red ball", num_frames=5, num_inference_steps=1)
    second = kinema.load(str(model_folder)).generate("a red ball", num_frames=5, num_inference_steps=1)
    assert np.array_equal(first.frames, second.frames)


def test_the_autoencoder_of_the_base_is_part_of_the_fingerprint(model_folder, tmp_path):
    base = shutil.copytree(model_folder, tmp_path / "model")
    folder = tmp_path / "teacher"
    shutil.copytree(base / "transformer", folder / "transformer")
    write_base(base / "kinema.json", folder / "kinema.json", "model")
    before, of_base = fingerprint(folder), fingerprint(base)
    weights = base / "vae" / "model.safetensors"
    assert weights.is_file()
    weights.write_bytes(weights.read_bytes()[:-4] + bytes(4))
    assert fingerprint(folder) != before
    assert fingerprint(base) != of_base


@pytest.mark.parametrize(
    ("base", "message"), [("../model", "must be the name of a folder"), ("gone", "beside it")]
)
def test_a_wrong_base_is_one_line(model_folder, tmp_path, base, message):
    folder = shutil.copytree(model_folder, tmp_path / "model")
    write_base(folder / "kinema.json", folder / "kinema.json", base)
    with pytest.raises(kinema.UserError, match=message):
        open_model(str(folder))
