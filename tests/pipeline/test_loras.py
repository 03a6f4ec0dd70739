"""LoRAs of requests: applied, removed without a trace, recorded, and reproduced."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from kinema.errors import UserError
from kinema.models.lora.apply import LoraLinear, apply_loras
from kinema.models.lora.match import match_lora
from kinema.models.lora.reader import open_lora
from kinema.models.transformer import dit_config
from kinema.models.transformer.dit import Dit
from kinema.models.transformer.int8 import Int8Linear, quantize_
from kinema.pipeline import loras as loras_module
from kinema.pipeline.loras import parse_lora, resolve_loras
from kinema.pipeline.metadata import parse_metadata
from kinema.pipeline.pipeline import load
from kinema.pipeline.reproduce import read_metadata, restore_pipeline
from kinema.pipeline.request import Lora, VideoRequest
from tests.fixtures.lora_files import random_factors, write_family

REQUEST = VideoRequest(
    prompt="a red ball rolls to the left", size=(64, 64), num_frames=5, num_inference_steps=2, seed=1
)
SIZE = 0.04


@pytest.fixture(scope="module")
def pipe():
    return load("world", device="cpu", dtype="float32", memory="high")


@pytest.fixture(scope="module")
def files(pipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("loras")
    return [
        write_family(
            folder / f"{name}.safetensors", "A", random_factors(pipe.model.dit, seed=seed, size=SIZE)
        )
        for seed, name in enumerate(("first", "second"))
    ]


@pytest.fixture(scope="module")
def base_frames(pipe):
    return pipe.generate(REQUEST).frames


def with_loras(*loras):
    return dataclasses.replace(REQUEST, loras=tuple(loras))


def digest(dit):
    return {name: (value.data_ptr(), value.clone()) for name, value in dit.named_parameters()}


def test_base_weights_are_never_touched(pipe, files, base_frames):
    dit = pipe.components.transformers[0].get()
    before = digest(dit)
    first = pipe.generate(with_loras(Lora(file=files[0]))).frames
    second = pipe.generate(with_loras(Lora(file=files[1], strength=0.5))).frames
    assert (first != base_frames).mean() > 0.1
    assert (second != first).mean() > 0.1
    assert np.array_equal(pipe.generate(REQUEST).frames, base_frames)
    after = digest(pipe.components.transformers[0].get())
    for name, (pointer, value) in before.items():
        assert after[name][0] == pointer
        assert torch.equal(after[name][1], value)
    assert np.array_equal(pipe.generate(with_loras(Lora(file=files[0]))).frames, first)


def test_interleaved_requests_do_not_disturb_each_other(pipe, files, base_frames):
    streams = [
        pipe.stream(request)
        for request in (with_loras(Lora(file=files[0])), REQUEST, with_loras(Lora(file=files[1])))
    ]
    alone = [
        pipe.generate(with_loras(Lora(file=files[0]))).frames,
        base_frames,
        pipe.generate(with_loras(Lora(file=files[1]))).frames,
    ]
    frames = [[] for _ in streams]
    waiting = set(range(len(streams)))
    while waiting:
        for number in sorted(waiting):
            event = next(streams[number], None)
            if event is None:
                waiting.discard(number)
            elif hasattr(event, "frames"):
                frames[number].append(event.frames)
    for got, expected in zip(frames, alone, strict=True):
        assert np.array_equal(np.concatenate(got), expected)


@pytest.mark.parametrize("shares", [True, False])
def test_low_memory_generates_the_same_video(shares, pipe, files, base_frames, monkeypatch):
    request = with_loras(Lora(file=files[0]), Lora(file=files[1], strength=-0.5))
    expected = pipe.generate(request).frames
    if shares:
        other = load("world", device="cpu", dtype="float32", memory="low")
    else:
        # There is no memory for merged copies next to the base.
        monkeypatch.setattr(loras_module, "_MAX_COPY_SHARE", 0.0)
        other = load("world", device="cpu", dtype="float32", memory="high")
        other.preload()
    assert np.array_equal(other.generate(request).frames, expected)
    assert np.array_equal(other.generate(REQUEST).frames, base_frames)
    assert np.array_equal(other.generate(request).frames, expected)


def test_strengths(pipe, files, base_frames):
    assert np.array_equal(pipe.generate(with_loras(Lora(file=files[0], strength=0.0))).frames, base_frames)
    twice = pipe.generate(with_loras(Lora(file=files[0], strength=0.5), Lora(file=files[0], strength=0.5)))
    once = pipe.generate(with_loras(Lora(file=files[0])))
    assert np.abs(twice.frames.astype(int) - once.frames).max() <= 1
    with pytest.raises(UserError, match="can't have strength"):
        Lora(file="x", strength=float("nan"))
    with pytest.raises(UserError, match="one transformer"):
        pipe.resolve(with_loras(Lora(file=files[0], low_noise_strength=0.5)))


def test_a_registered_name_takes_no_effect_until_a_request_names_it(pipe, files, base_frames):
    assert pipe.load_lora(files[0]) == "first"
    assert pipe.load_lora(files[1], name="other") == "other"
    assert np.array_equal(pipe.generate(REQUEST).frames, base_frames)
    keywords = {"size": (64, 64), "num_frames": 5, "num_inference_steps": 2, "seed": 1}
    by_name = pipe.generate(REQUEST.prompt, loras=["first:0.5", Lora(file="other")], **keywords).frames
    by_path = pipe.generate(with_loras(Lora(file=files[0], strength=0.5), Lora(file=files[1]))).frames
    assert np.array_equal(by_name, by_path)
    with pytest.raises(UserError, match=r"no LoRA 'othr' \(did you mean 'other'\?\)"):
        pipe.resolve(with_loras(Lora(file="othr")))


def test_metadata_and_reproduction(pipe, files, tmp_path):
    lora = tmp_path / "style.safetensors"
    lora.write_bytes(files[0].read_bytes())
    video = pipe.generate(with_loras(Lora(file=lora, strength=0.5)))
    video.save(tmp_path / "video.mp4")
    metadata = read_metadata(tmp_path / "video.mp4")
    assert metadata.files[-1].sha256 == open_lora(files[0]).sha256
    assert parse_metadata(metadata.to_json(), what="x").request.loras == metadata.request.loras
    assert metadata.relative_to(tmp_path).request.loras == (Lora(file="style.safetensors", strength=0.5),)
    again, resolved = restore_pipeline(metadata, tmp_path, device="cpu")
    frames = again.collect(resolved, again.stream(resolved)).frames
    assert np.array_equal(frames, video.frames)
    lora.rename(tmp_path / "moved.safetensors")
    with pytest.raises(UserError, match=r"made with the LoRA .*style\.safetensors, .* --lora"):
        restore_pipeline(metadata, tmp_path, device="cpu")
    with pytest.raises(UserError, match="made with the LoRA"):
        restore_pipeline(metadata, tmp_path, device="cpu", loras=[files[1]])
    _, resolved = restore_pipeline(metadata, tmp_path, device="cpu", loras=[tmp_path / "moved.safetensors"])
    assert resolved.loras[0].strengths == (0.5,)


def test_a_pair_in_a_folder(files, tmp_path):
    for number, name in enumerate(("style_high_noise", "style_low_noise")):
        (tmp_path / f"{name}.safetensors").write_bytes(files[number].read_bytes())
    opened = loras_module.open_lora_files(tmp_path)
    assert [file.expert for file in opened] == [0, 1]
    both = loras_module.lora_sha256(opened)
    assert both not in (opened[0].sha256, opened[1].sha256)
    (tmp_path / "third.safetensors").write_bytes(files[0].read_bytes())
    with pytest.raises(UserError, match="has 3 files"):
        loras_module.open_lora_files(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"has no \.safetensors file"):
        loras_module.open_lora_files(tmp_path / "empty")


def test_unused_modules_are_one_warning(pipe, tmp_path):
    factors = dict(random_factors(pipe.model.dit, size=SIZE))
    for number in range(400):
        factors[f"blocks.{number}.attn2.add_k_proj"] = factors["blocks.0.attn1.to_q"]
    path = write_family(
        tmp_path / "x.safetensors", "A", {name: (a.clone(), b.clone()) for name, (a, b) in factors.items()}
    )
    with pytest.warns(UserWarning, match=r"without 400 modules \(.* and 397 more\)") as caught:
        pipe.generate(with_loras(Lora(file=path)))
    assert len(caught) == 1
    with pytest.warns(UserWarning, match="without 400 modules"):
        pipe.load_lora(path)


def test_a_batch_has_the_same_loras(pipe, files):
    requests = [with_loras(Lora(file=files[0])), dataclasses.replace(with_loras(Lora(file=files[0])), seed=2)]
    videos = list(pipe.generate_batch(requests))
    alone = pipe.generate(requests[1]).frames
    assert np.abs(videos[1].frames.astype(int) - alone).max() <= 1
    with pytest.raises(UserError, match="same LoRAs"):
        list(pipe.generate_batch([REQUEST, requests[0]]))


@pytest.mark.parametrize(
    ("text", "lora"),
    [
        ("a.safetensors", Lora(file="a.safetensors")),
        ("a.safetensors:0.8", Lora(file="a.safetensors", strength=0.8)),
        ("a.safetensors:1:0.6", Lora(file="a.safetensors", strength=1.0, low_noise_strength=0.6)),
        ("a.safetensors:-0.5", Lora(file="a.safetensors", strength=-0.5)),
        ("C:/b.safetensors", Lora(file="C:/b.safetensors")),
        ("C:/b.safetensors:2", Lora(file="C:/b.safetensors", strength=2.0)),
        ("name", Lora(file="name")),
        ("2024", Lora(file="2024")),
    ],
)
def test_parse_lora(text, lora):
    assert parse_lora(text) == lora


@pytest.mark.parametrize("text", ["", "a:99", "a:nan"])
def test_parse_lora_refuses(text):
    with pytest.raises(UserError):
        parse_lora(text)


def random_dit():
    torch.manual_seed(0)
    dit = Dit(dit_config.tiny()).eval()
    for parameter in dit.parameters():
        parameter.requires_grad_(False).normal_(std=0.2)
    return dit


@pytest.fixture
def tiny_lora(tmp_path):
    config = dit_config.tiny()
    path = write_family(tmp_path / "x.safetensors", "A", random_factors(config))
    return match_lora(open_lora(path), config, model_name="tiny")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_beside_equals_merged(dtype, tiny_lora):
    dit = random_dit().cast(dtype)
    merged = apply_loras(dit, [(tiny_lora, 0.5), (tiny_lora, 0.25)])
    unmerged = apply_loras(dit, [(tiny_lora, 0.5), (tiny_lora, 0.25)], merge=False)
    layer = unmerged.blocks[0].attn1.to_q
    assert isinstance(layer, LoraLinear)
    assert layer.down.shape == (8, 48)
    assert layer.down.dtype is dtype
    x = torch.randn(5, 48).to(dtype)
    expected = merged.blocks[0].attn1.to_q(x)
    tolerance = 1e-4 if dtype is torch.float32 else 0.2
    assert torch.allclose(layer(x), expected, atol=tolerance, rtol=0.02)
    assert merged.blocks[0].attn1.to_q.weight.dtype is dtype
    assert merged.blocks[0].attn1.norm_q.weight is dit.blocks[0].attn1.norm_q.weight


def test_int8_weights_keep_the_change_beside_them(tiny_lora):
    dit = random_dit()
    quantized = random_dit()
    quantize_(quantized)
    merged = apply_loras(dit, [(tiny_lora, 1.0)])
    unmerged = apply_loras(quantized, [(tiny_lora, 1.0)])
    layer = unmerged.blocks[1].ffn.net["2"]
    assert isinstance(layer.base, Int8Linear)
    x = torch.randn(20, 96)
    expected = merged.blocks[1].ffn.net["2"](x)
    base_error = (quantized.blocks[1].ffn.net["2"](x) - dit.blocks[1].ffn.net["2"](x)).norm()
    assert (layer(x) - expected).norm() < 1.5 * base_error


def test_changes_that_need_the_weight_on_int8(tmp_path):
    from safetensors.torch import save_file

    name, magnitude = "blocks.0.self_attn.q", torch.rand(48, 1) + 0.5
    tensors = {
        f"{name}.lora_A.weight": torch.randn(2, 48),
        f"{name}.lora_B.weight": torch.randn(48, 2),
        f"{name}.dora_scale": magnitude,
        f"{name}.diff_b": torch.randn(48),
        "blocks.0.self_attn.k.hada_w1_a": torch.randn(48, 2),
        "blocks.0.self_attn.k.hada_w1_b": torch.randn(2, 48),
        "blocks.0.self_attn.k.hada_w2_a": torch.randn(48, 2),
        "blocks.0.self_attn.k.hada_w2_b": torch.randn(2, 48),
        "blocks.0.self_attn.k.diff_b": torch.randn(48),
    }
    save_file(tensors, tmp_path / "x.safetensors")
    match = match_lora(open_lora(tmp_path / "x.safetensors"), dit_config.tiny(), model_name="tiny")
    quantized = random_dit()
    quantize_(quantized)
    merged = apply_loras(random_dit(), [(match, 0.5)])
    unmerged = apply_loras(quantized, [(match, 0.5)])
    x = torch.randn(20, 48)
    for layer in ("to_q", "to_k"):
        expected = getattr(merged.blocks[0].attn1, layer)(x)
        error = (getattr(unmerged.blocks[0].attn1, layer)(x) - expected).norm() / expected.norm()
        assert error < 0.03
    assert torch.equal(quantized.blocks[0].attn1.to_k.bias, random_dit().blocks[0].attn1.to_k.bias)


def test_resolving_reads_no_tensor(pipe, files, monkeypatch):
    monkeypatch.setattr(loras_module, "apply_loras", lambda *_, **__: pytest.fail("tensors were read"))
    assert resolve_loras(pipe.model, [Lora(file=files[0])], {})[0].notes == ()
