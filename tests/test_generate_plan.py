"""What a film will cost: counted, not guessed; and refused where there is no room."""

from __future__ import annotations

import dataclasses
import re

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from kinema.errors import UserError
from kinema.generate import machine, plan, residency
from kinema.generate.plan import Plan, check, coder_operations, step_operations
from kinema.generate.residency import Choice, choose, weight_bytes
from kinema.generate.speed import Speed, measure
from kinema.models import dit_config
from kinema.models.source import open_model
from kinema.models.vae import VideoVae
from kinema.models.vae_config import VaeConfig
from kinema.shapes import LatentShape, VideoShape

from . import wan_fixtures

CPU = torch.device("cpu")
SPEED = Speed(product=1e12, attention=5e11, convolution=2e11, bytes=1e10)
FILM = VideoShape(frames=17, height=64, width=64)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return wan_fixtures.Saved(tmp_path_factory.mktemp("wan"))


@pytest.fixture(scope="module")
def model(saved):
    return open_model(str(saved["t2v-a14b-2.2"]))


def planned(model, film=FILM, **changes) -> Plan:
    settings = {
        "device": CPU,
        "choice": Choice(dtype=torch.float32, int8=False, keep=True),
        "steps": 10,
        "guided": True,
        "pictures": 0,
        "speed": SPEED,
    }
    return plan.plan(model, film, **(settings | changes))


@pytest.mark.parametrize(
    "config", [VaeConfig.tiny(), VaeConfig.tiny(residual=True), VaeConfig.tiny(folded=True)]
)
@pytest.mark.parametrize("encoder", [False, True])
def test_coder_is_counted_as_it_runs(config, encoder):
    shape = LatentShape(frames=3, height=8, width=6)
    film = shape.video(config.stride)
    with torch.device("meta"):
        vae = VideoVae(config)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            if encoder:
                vae.encode_posterior(torch.empty(1, 3, film.frames, film.height, film.width))
            else:
                vae.decode_raw(torch.empty(1, config.z_dim, 3, 8, 6))
    counted = coder_operations(config, shape, encoder=encoder, whole=True)
    assert counted == pytest.approx(counter.get_total_flops(), rel=0.02)


def test_step_is_counted_as_the_layers_are():
    """The transformer's weights say how much its linear layers do: two operations for each and token."""
    config = dit_config.wan21_t2v_1_3b()
    shape = LatentShape(frames=21, height=60, width=104)
    tokens = shape.tokens(2)
    linear, attention = step_operations(config, shape)
    matrices = config.layers * (6 * config.width**2 + 2 * config.width * config.mlp_width)
    assert linear == 2 * tokens * matrices
    assert attention > 4 * tokens**2 * config.width * config.layers
    double = step_operations(config, dataclasses.replace(shape, frames=42))
    assert double[0] == 2 * linear
    assert 3.5 * attention < double[1] < 4 * attention


def test_stages_and_their_peaks(model):
    whole = planned(model)
    assert [cost.name for cost in whole.costs] == ["text", "steps", "decode"]
    assert whole.seconds == pytest.approx(sum(cost.seconds for cost in whole.costs))
    assert whole.peak == max(cost.peak for cost in whole.costs)
    low = planned(model, choice=Choice(dtype=torch.float32, int8=False, keep=False))
    assert all(a.peak < b.peak for a, b in zip(low.costs, whole.costs, strict=True))
    twice = planned(model, steps=20)
    assert twice.costs[1].seconds == pytest.approx(2 * whole.costs[1].seconds)
    alone = planned(model, guided=False)
    assert alone.costs[1].seconds == pytest.approx(whole.costs[1].seconds / 2)


def test_pictures_are_a_stage(saved):
    names = [cost.name for cost in planned(open_model(str(saved["i2v-2.1"])), pictures=1).costs]
    assert names == ["text", "pictures", "steps", "decode"]


def test_weights_are_counted_from_headers(model):
    sizes = weight_bytes(model, torch.bfloat16, int8=False)
    dit = model.load_transformer(dtype=torch.float32, device=CPU)
    assert sizes["transformer"] == sizes["transformer_2"] == 2 * sum(p.numel() for p in dit.parameters())
    eight = weight_bytes(model, torch.float32, int8=True)
    assert eight["transformer"] == sizes["transformer"] // 2
    assert eight["vae"] == sizes["vae"]


def refuse(model, wanted):
    choice = Choice(dtype=torch.float32, int8=False, keep=True)
    check(model, wanted, device=CPU, choice=choice, guided=True, pictures=0, fps=16.0)


def test_what_has_no_room_is_refused_with_what_has(model, monkeypatch):
    room = 600 * 2**20
    monkeypatch.setattr(plan, "free_memory", lambda device: room)
    large = VideoShape(frames=161, height=1024, width=1024)
    with pytest.raises(UserError, match="what fits: ") as caught:
        refuse(model, planned(model, large))
    message = str(caught.value)
    assert "\n" not in message
    found = re.search(r"(\d+)x(\d+) for .* s \((\d+) frames\)", message.split("what fits: ")[1])
    assert found is not None
    width, height, frames = (int(number) for number in found.groups())
    fits = VideoShape(frames=frames, height=height, width=width)
    assert planned(model, fits).fits
    refuse(model, planned(model, fits))


def test_no_room_for_the_weights_themselves(model, monkeypatch):
    monkeypatch.setattr(plan, "free_memory", lambda device: 0)
    with pytest.raises(UserError, match="nothing of this model fits"):
        refuse(model, planned(model))


def test_memory_decides_what_stays(model, monkeypatch):
    sizes = weight_bytes(model, torch.float32, int8=False).values()
    total, largest = sum(sizes), max(sizes)
    for room, dtype, keep in (
        (10 * total, torch.float32, True),
        (int((total + largest) / 2 / 0.7), torch.float32, False),
        (1, torch.bfloat16, False),
    ):
        monkeypatch.setattr(residency, "free_memory", lambda device, room=room: room)
        choice = choose(model, CPU, dtype="auto", memory="auto")
        assert (choice.dtype, choice.keep) == (dtype, keep)
    assert choose(model, CPU, dtype="int8", memory="high") == Choice(
        dtype=torch.bfloat16, int8=True, keep=True
    )
    with pytest.raises(UserError, match="CPU only"):
        choose(model, torch.device("cuda"), dtype="int8", memory="auto")


def test_speed_is_measured():
    speed = measure(dit_config.tiny(), VaeConfig.tiny(), device=CPU, dtype=torch.float32)
    assert min(speed.product, speed.attention, speed.convolution, speed.bytes) > 1e6


def test_this_machine_has_memory():
    assert machine.free_memory(CPU) > 2**20
    assert machine.device_of("cpu") == CPU


@pytest.mark.parametrize("name", ["gpu9", "cuda:99", "meta"])
def test_devices_that_are_not_here(name):
    with pytest.raises(UserError, match="auto") as caught:
        machine.device_of(name)
    assert "\n" not in str(caught.value)
