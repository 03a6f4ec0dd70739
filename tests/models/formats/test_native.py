"""Our own models on disk, and settings as strict JSON."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kinema.errors import UserError
from kinema.models.formats.loader import open_model
from kinema.models.formats.native import save_checkpoint
from kinema.models.formats.serialization import from_json, to_json
from kinema.models.sampling_defaults import SamplingDefaults
from kinema.models.transformer import dit_config
from kinema.models.transformer.dit import Dit
from kinema.models.transformer.dit_config import DitConfig
from kinema.models.vae.autoencoder import VideoVae
from kinema.models.vae.vae_config import VaeConfig
from kinema.pipeline.pipeline import load
from kinema.pipeline.resolve import VideoRequest

SAMPLING_DEFAULTS = SamplingDefaults(
    num_inference_steps=3,
    guidance_scale=(2.5,),
    flow_shift=1.0,
    solver="euler",
    schedule="linear",
    image_conditioning="frames",
    size=(32, 32),
    num_frames=9,
    fps=8.0,
)


def parts() -> tuple[Dit, VideoVae]:
    """A tiny model with the settings of the shipped one, its weights random throughout."""
    torch.manual_seed(0)
    vae = VideoVae(VaeConfig.tiny(patchified=True)).eval()
    dit = Dit(dit_config.tiny(text_conditioning="joint")).eval()
    with torch.no_grad():
        for parameter in dit.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return dit, vae


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own") / "world"
    dit, vae = parts()
    save_checkpoint(
        folder,
        sampling_defaults=SAMPLING_DEFAULTS,
        transformer=dit,
        vae=vae,
        dtype=torch.float32,
        shard_bytes=100_000,
    )
    return folder


def test_saved_model_comes_back(model):
    dit, vae = parts()
    opened = open_model(str(model))
    assert (opened.sampling_defaults, opened.dit, opened.vae) == (SAMPLING_DEFAULTS, dit.config, vae.config)
    cpu = torch.device("cpu")
    for mine, theirs in (
        (dit, opened.load_transformer(dtype=torch.float32, device=cpu)),
        (vae, opened.load_vae(device=cpu)),
    ):
        state = theirs.state_dict()
        assert all(torch.equal(value, state[name]) for name, value in mine.state_dict().items())
    torch.testing.assert_close(opened.load_vae(device=cpu).latents_std, vae.latents_std)


def test_shards_keep_to_the_requested_size(model):
    files = list((model / "transformer").glob("*.safetensors"))
    assert len(files) > 1
    assert max(file.stat().st_size for file in files) < 120_000


def test_bfloat16_keeps_what_must_be_exact(tmp_path):
    dit, vae = parts()
    save_checkpoint(tmp_path / "small", sampling_defaults=SAMPLING_DEFAULTS, transformer=dit, vae=vae)
    stored = open_model(str(tmp_path / "small")).list_tensors("transformer")
    kept = {name for name, tensor in stored.items() if tensor.dtype is torch.float32}
    assert "condition_embedder.text_std" in kept
    assert "blocks.0.scale_shift_table" in kept
    assert stored["blocks.0.attn1.to_q.weight"].dtype is torch.bfloat16


def test_native_model_generates_videos(model, tmp_path):
    pipe = load(model, device="cpu")
    film = pipe.generate("a red ball rolls to the left", seed=3)
    assert film.frames.shape == (9, 32, 32, 3)
    assert film.fps == 8
    assert np.array_equal(film.frames, pipe.generate("a red ball rolls to the left", seed=3).frames)
    assert not np.array_equal(film.frames, pipe.generate("two cats", seed=3).frames)
    pipe.save(tmp_path / "copy")
    again = load(tmp_path / "copy", device="cpu").generate("a red ball rolls to the left", seed=3)
    assert np.array_equal(film.frames, again.frames)


def test_native_model_takes_first_and_last_image(model):
    pipe = load(model, device="cpu")
    picture = np.full((32, 32, 3), 200, dtype=np.uint8)
    first = [*pipe.iterate_steps(VideoRequest(prompt="a ball", image=picture))][-1].latents
    both = [*pipe.iterate_steps(VideoRequest(prompt="a ball", image=picture, last_image=255 - picture))][
        -1
    ].latents
    assert torch.equal(first[:, :, 0], both[:, :, 0])
    pixels = torch.full((1, 3, 5, 32, 32), 55 / 127.5 - 1)
    with torch.no_grad():
        expected = pipe.vae.encode(pixels)[:, :, 1]
    torch.testing.assert_close(both[:, :, -1], expected, atol=1e-5, rtol=0)


def test_a_half_saved_model_is_no_model(model, tmp_path):
    dit, vae = parts()
    target = tmp_path / "broken"
    save_checkpoint(target, sampling_defaults=SAMPLING_DEFAULTS, transformer=dit, vae=vae)
    (target / "kinema.json").unlink()
    with pytest.raises(UserError, match="is no model"):
        open_model(str(target))


def test_newer_format_is_refused(tmp_path):
    dit, vae = parts()
    save_checkpoint(tmp_path / "new", sampling_defaults=SAMPLING_DEFAULTS, transformer=dit, vae=vae)
    index = tmp_path / "new" / "kinema.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"format": 2}))
    with pytest.raises(UserError, match="format 2"):
        open_model(str(tmp_path / "new"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inner:
    rate: float = 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outer:
    count: int
    name: str | None = None
    kind: Literal["a", "b"] = "a"
    sizes: tuple[int, ...] = ()
    pair: tuple[int, float] = (1, 2.0)
    on: bool = False
    inner: Inner = dataclasses.field(default_factory=Inner)


@given(
    st.builds(
        Outer,
        count=st.integers(),
        name=st.none() | st.text(),
        kind=st.sampled_from(["a", "b"]),
        sizes=st.lists(st.integers()).map(tuple),
        pair=st.tuples(st.integers(), st.floats(allow_nan=False)),
        on=st.booleans(),
        inner=st.builds(Inner, rate=st.floats(allow_nan=False)),
    )
)
def test_settings_survive_json(config):
    assert from_json(Outer, to_json(config), source="settings") == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "not a JSON object"),
        ('{"count": 1, "nmae": "x"}', r"no setting 'nmae' \(did you mean 'name'\?\)"),
        ("{}", "lacks the setting 'count'"),
        ('{"count": "1"}', "count is '1' and must be of type int"),
        ('{"count": true}', "count is True and must be of type int"),
        ('{"count": 1.5}', r"count is 1\.5 and must be of type int"),
        ('{"count": 1, "kind": "c"}', "must be one of 'a', 'b'"),
        ('{"count": 1, "sizes": 3}', "sizes is 3 and must be a list"),
        ('{"count": 1, "pair": [1]}', "pair has 1 entries and must have 2"),
        ('{"count": 1, "inner": {"rat": 1}}', "inner has no setting 'rat'"),
    ],
)
def test_wrong_settings_are_named(text, message):
    with pytest.raises(UserError, match=message) as caught:
        from_json(Outer, text, source="settings")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "config", [dit_config.small(), dit_config.wan21_flf2v_14b(), dit_config.wan22_ti2v_5b()]
)
def test_transformer_settings_survive_json(config):
    assert from_json(DitConfig, to_json(config), source="transformer") == config


@pytest.mark.parametrize("config", [VaeConfig.wan21(), VaeConfig.wan22(), VaeConfig.small()])
def test_vae_settings_survive_json(config):
    assert from_json(VaeConfig, to_json(config), source="coder") == config


def test_loading_does_not_wait_for_the_compiler():
    """Importing it takes longer than making a film of the small model begins to."""
    code = (
        "import sys, torch\n"
        "from kinema.models.transformer.dit import Dit\n"
        "from kinema.models.transformer.dit_config import tiny\n"
        "with torch.device('meta'): Dit(tiny(text='joint'))\n"
        "sys.exit('torch._dynamo' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
