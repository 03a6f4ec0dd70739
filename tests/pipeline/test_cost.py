"""Cost estimates: operations and bytes are counted, and requests that do not fit are refused."""

from __future__ import annotations

import dataclasses
import re

import pytest
import torch

from kinema.errors import UserError
from kinema.models.formats.loader import open_model
from kinema.models.transformer import dit_config
from kinema.models.vae.vae_config import VaeConfig
from kinema.pipeline import cost, memory_policy, peak_memory
from kinema.pipeline import device as device_module
from kinema.pipeline.cost import CostEstimate, check_fits
from kinema.pipeline.memory_policy import MemoryPolicy, select_memory_policy, weight_bytes
from kinema.pipeline.pipeline import load
from kinema.pipeline.request import VideoRequest
from kinema.pipeline.resolved_request import ResolvedRequest
from kinema.pipeline.throughput import DeviceThroughput, measure_throughput
from kinema.shapes import VideoShape
from tests.fixtures import wan_fixtures

CPU = torch.device("cpu")
THROUGHPUT = DeviceThroughput(matmul=1e12, attention=5e11, convolution=2e11, bandwidth=1e10)
VIDEO_SHAPE = VideoShape(frames=17, height=64, width=64)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return wan_fixtures.Saved(tmp_path_factory.mktemp("wan"))


@pytest.fixture(scope="module")
def model(saved):
    return open_model(str(saved["t2v-a14b-2.2"]))


def estimate(model, video_shape=VIDEO_SHAPE, **changes) -> CostEstimate:
    settings = {
        "device": CPU,
        "policy": MemoryPolicy(dtype=torch.float32, int8=False, keep_loaded=True),
        "num_inference_steps": 10,
        "use_cfg": True,
        "num_images": 0,
        "throughput": THROUGHPUT,
    }
    return cost.estimate_cost(model, video_shape, **(settings | changes))


def test_stages_and_their_peaks(model):
    whole = estimate(model)
    assert [stage.name for stage in whole.costs] == ["text", "sample", "decode"]
    assert whole.seconds == pytest.approx(sum(stage.seconds for stage in whole.costs))
    assert whole.peak_bytes == max(stage.peak_bytes for stage in whole.costs)
    low = estimate(model, policy=MemoryPolicy(dtype=torch.float32, int8=False, keep_loaded=False))
    assert all(a.peak_bytes < b.peak_bytes for a, b in zip(low.costs, whole.costs, strict=True))
    twice = estimate(model, num_inference_steps=20)
    assert twice.costs[1].seconds == pytest.approx(2 * whole.costs[1].seconds)
    alone = estimate(model, use_cfg=False)
    assert alone.costs[1].seconds == pytest.approx(whole.costs[1].seconds / 2)


def test_images_are_a_stage(saved):
    names = [stage.name for stage in estimate(open_model(str(saved["i2v-2.1"])), num_images=1).costs]
    assert names == ["text", "images", "sample", "decode"]


def test_weights_are_counted_from_headers(model):
    sizes = weight_bytes(model, torch.bfloat16, int8=False)
    dit = model.load_transformer(dtype=torch.float32, device=CPU)
    assert sizes["transformer"] == sizes["transformer_2"] == 2 * sum(p.numel() for p in dit.parameters())
    eight = weight_bytes(model, torch.float32, int8=True)
    assert eight["transformer"] == sizes["transformer"] // 2
    assert eight["vae"] == sizes["vae"]


def refuse(model, cost_estimate):
    policy = MemoryPolicy(dtype=torch.float32, int8=False, keep_loaded=True)
    check_fits(model, cost_estimate, device=CPU, policy=policy, use_cfg=True, num_images=0, fps=16.0)


def test_too_large_a_video_is_refused_with_what_fits(model, monkeypatch):
    available = 600 * 2**20
    monkeypatch.setattr(peak_memory, "free_memory", lambda device: available)
    large = VideoShape(frames=161, height=1024, width=1024)
    with pytest.raises(UserError, match="what fits: ") as caught:
        refuse(model, estimate(model, large))
    message = str(caught.value)
    assert "\n" not in message
    found = re.search(r"(\d+)x(\d+) for .* s \((\d+) frames\)", message.split("what fits: ")[1])
    assert found is not None
    width, height, frames = (int(number) for number in found.groups())
    fits = VideoShape(frames=frames, height=height, width=width)
    assert estimate(model, fits).fits
    refuse(model, estimate(model, fits))


def test_weights_that_do_not_fit_are_refused(model, monkeypatch):
    monkeypatch.setattr(peak_memory, "free_memory", lambda device: 0)
    with pytest.raises(UserError, match="nothing of this model"):
        refuse(model, estimate(model))


def test_free_memory_decides_what_stays_loaded(model, monkeypatch):
    sizes = weight_bytes(model, torch.float32, int8=False).values()
    total, largest = sum(sizes), max(sizes)
    for available, dtype, keep in (
        (10 * total, torch.float32, True),
        (int((total + largest) / 2 / 0.7), torch.float32, False),
        (1, torch.bfloat16, False),
    ):
        monkeypatch.setattr(memory_policy, "free_memory", lambda device, available=available: available)
        policy = select_memory_policy(model, CPU, dtype="auto", memory="auto")
        assert (policy.dtype, policy.keep_loaded) == (dtype, keep)
    assert select_memory_policy(model, CPU, dtype="int8", memory="high") == MemoryPolicy(
        dtype=torch.bfloat16, int8=True, keep_loaded=True
    )
    with pytest.raises(UserError, match="fp8 runs on an NVIDIA GPU"):
        select_memory_policy(model, CPU, dtype="fp8", memory="auto")


def test_throughput_is_measured():
    speed = measure_throughput(dit_config.tiny(), VaeConfig.tiny(), device=CPU, dtype=torch.float32)
    assert min(speed.matmul, speed.attention, speed.convolution, speed.bandwidth) > 1e6


def test_this_machine_has_memory():
    assert device_module.free_memory(CPU) > 2**20
    assert device_module.resolve_device("cpu") == CPU


@pytest.mark.parametrize("name", ["gpu9", "cuda:99", "meta"])
def test_missing_devices_are_refused(name):
    with pytest.raises(UserError, match="auto") as caught:
        device_module.resolve_device(name)
    assert "\n" not in str(caught.value)


def test_upscaling_is_counted():
    pipe = load("world", device="cpu")

    def resolve(factor: int) -> ResolvedRequest:
        return pipe.resolve(VideoRequest(prompt="a ball", seed=0, upscale=factor))

    plain, twice, four = (
        cost.estimate_request(pipe.components, resolve(factor), THROUGHPUT) for factor in (1, 2, 4)
    )
    assert [one.name for one in twice.costs] == [one.name for one in four.costs] == [
        *(one.name for one in plain.costs), "upscale"
    ]  # fmt: skip
    # The last pass of 4 alone has four times the pixels of the one of 2.
    assert four.costs[-1].flops > 4 * twice.costs[-1].flops
    decoding = next(one for one in plain.costs if one.name == "decode")
    assert twice.costs[-1].flops > 4 * decoding.flops
    assert plain.peak_bytes < twice.peak_bytes < four.peak_bytes
    small = dataclasses.replace(four, available=twice.peak_bytes)
    with pytest.raises(UserError, match="upscaling to"):
        cost.check_request_fits(pipe.components, resolve(4), small)
    cost.check_request_fits(
        pipe.components, resolve(2), dataclasses.replace(twice, available=twice.peak_bytes)
    )
