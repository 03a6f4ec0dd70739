"""LoRA files: every family gives the same change; round trips; what is refused."""

from __future__ import annotations

import functools
import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from kinema.errors import UserError
from kinema.models.lora.match import match_lora, read_changes
from kinema.models.lora.names import parse_name
from kinema.models.lora.reader import open_lora
from kinema.models.lora.writer import save_lora
from kinema.models.transformer import dit_config
from kinema.models.transformer.dit_config import DitConfig
from tests.fixtures.lora_files import FAMILIES, random_factors, write_family

CONFIG = dit_config.tiny()
IMAGE_CONFIG = DitConfig(
    in_channels=4, out_channels=4, width=48, heads=2, layers=2, mlp_width=96, text_width=32, text_length=16,
    image_width=24,
)  # fmt: skip
QUERY = "blocks.0.attn1.to_q"
ORIGINAL = "diffusion_model.blocks.0.self_attn.q"


def deltas(path, config=CONFIG, **kwargs):
    """ΔW of each parameter that a file changes."""
    match = match_lora(open_lora(path), config, model_name="tiny", **kwargs)
    shapes = weights(config)
    return {
        name: sum(change.delta(shapes[name]) for change in changes)
        for name, changes in read_changes(match).items()
    }


@functools.cache
def weights(config=CONFIG):
    from kinema.models.transformer.dit import Dit

    torch.manual_seed(0)
    return {name: torch.randn(value.shape) for name, value in Dit(config).named_parameters()}


def write(path, tensors, **metadata):
    save_file(
        {name: torch.as_tensor(value).clone().contiguous() for name, value in tensors.items()}, path, metadata
    )
    return path


DOWN, UP = torch.zeros(2, 48), torch.zeros(48, 2)
DOWN[0, 0] = DOWN[1, 1] = UP[0, 0] = 1
UP[1, 1] = 2
"""The specification's factors, in the first rows and columns of a layer of 48."""


@pytest.mark.parametrize("family", FAMILIES)
def test_vector_of_the_specification(family, tmp_path):
    factors = {QUERY: (DOWN, UP)}
    stores_alpha = family in "BCD"
    alpha = 1.0 if stores_alpha else None
    path = write_family(tmp_path / "x.safetensors", family, factors, alpha=alpha)
    delta = deltas(path)[f"{QUERY}.weight"]
    expected = torch.zeros(48, 48)
    expected[0, 0], expected[1, 1] = (0.5, 1) if stores_alpha else (1, 2)
    assert torch.equal(delta, expected)


@pytest.mark.parametrize("config", [CONFIG, IMAGE_CONFIG, dit_config.tiny(text_conditioning="joint")])
def test_all_families_change_the_same_weights_equally(config, tmp_path):
    factors = random_factors(config)
    results = [
        deltas(write_family(tmp_path / f"{family}.safetensors", family, factors), config)
        for family in FAMILIES
    ]
    assert set(results[0]) == {f"{name}.weight" for name in factors}
    for other in results[1:]:
        assert other.keys() == results[0].keys()
        assert all(torch.equal(other[name], value) for name, value in results[0].items())


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "diffusion_model.",
        "model.diffusion_model.",
        "transformer.",
        "base_model.model.",
        "model.",
        "unet.",
        "base_model.model.transformer.",
    ],
)
@pytest.mark.parametrize("module", ["blocks.0.self_attn.q", QUERY])
def test_prefixes(prefix, module, tmp_path):
    name = prefix + module
    path = write(tmp_path / "x.safetensors", {f"{name}.lora_A.weight": DOWN, f"{name}.lora_B.weight": UP})
    assert deltas(path)[f"{QUERY}.weight"][1, 1] == 2


@pytest.mark.parametrize(
    "name",
    [
        "lora_unet_blocks_0_self_attn_q",
        "lora_unet__blocks_0_self_attn_q",
        "lycoris_blocks_0_attn1_to_q",
        "lycoris_blocks_0_self_attn_q",
        "lora_transformer_blocks_0_attn1_to_q",
    ],
)
def test_names_with_underscores(name, tmp_path):
    tensors = {f"{name}.lora_down.weight": DOWN, f"{name}.lora_up.weight": UP}
    assert deltas(write(tmp_path / "x.safetensors", tensors))[f"{QUERY}.weight"][1, 1] == 2


def test_underscores_are_not_turned_into_dots(tmp_path):
    down, up = torch.randn(2, 48), torch.randn(48, 2)
    name = "lora_unet_blocks_1_cross_attn_k_img"
    tensors = {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up}
    found = deltas(write(tmp_path / "x.safetensors", tensors), IMAGE_CONFIG)
    assert list(found) == ["blocks.1.attn2.add_k_proj.weight"]


@pytest.mark.parametrize(
    ("down", "up"),
    [
        (".lora_A.weight", ".lora_B.weight"),
        (".lora_A", ".lora_B"),
        (".lora_A.default.weight", ".lora_B.default.weight"),
        (".lora_down.weight", ".lora_up.weight"),
        (".lora.down.weight", ".lora.up.weight"),
        ("_lora.down.weight", "_lora.up.weight"),
        (".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"),
    ],
)
def test_pairs_of_suffixes(down, up, tmp_path):
    path = write(tmp_path / "x.safetensors", {ORIGINAL + down: DOWN, ORIGINAL + up: UP})
    assert deltas(path)[f"{QUERY}.weight"][1, 1] == 2


def test_names_outside_of_the_blocks(tmp_path):
    modules = {
        "patch_embedding": (48, 4 * 4),
        "text_embedding.0": (48, 32),
        "text_embedding.2": (48, 48),
        "time_embedding.0": (48, 256),
        "time_embedding.2": (48, 48),
        "time_projection.1": (288, 48),
        "head.head": (16, 48),
    }
    tensors = {}
    for name, (outputs, inputs) in modules.items():
        tensors[f"diffusion_model.{name}.lora_down.weight"] = torch.randn(2, inputs)
        tensors[f"diffusion_model.{name}.lora_up.weight"] = torch.randn(outputs, 2)
    found = deltas(write(tmp_path / "x.safetensors", tensors))
    assert set(found) == {
        "patch_embedding.weight",
        "condition_embedder.text_embedder.linear_1.weight",
        "condition_embedder.text_embedder.linear_2.weight",
        "condition_embedder.time_embedder.linear_1.weight",
        "condition_embedder.time_embedder.linear_2.weight",
        "condition_embedder.time_proj.weight",
        "proj_out.weight",
    }
    assert found["patch_embedding.weight"].shape == (48, 4, 1, 2, 2)


def test_differences(tmp_path):
    values = {
        f"{ORIGINAL}.diff": ("blocks.0.attn1.to_q.weight", (48, 48)),
        f"{ORIGINAL}.diff_b": ("blocks.0.attn1.to_q.bias", (48,)),
        "diffusion_model.blocks.0.norm3.diff": ("blocks.0.norm2.weight", (48,)),
        "diffusion_model.blocks.0.norm3.diff_b": ("blocks.0.norm2.bias", (48,)),
        "diffusion_model.blocks.0.self_attn.norm_q.diff": ("blocks.0.attn1.norm_q.weight", (48,)),
        "diffusion_model.blocks.0.modulation.diff": ("blocks.0.scale_shift_table", (1, 6, 48)),
        "diffusion_model.blocks.1.diff_m": ("blocks.1.scale_shift_table", (1, 6, 48)),
        "diffusion_model.head.modulation.diff": ("scale_shift_table", (1, 2, 48)),
        "diffusion_model.head.head.diff": ("proj_out.weight", (16, 48)),
        "diffusion_model.patch_embedding.diff": ("patch_embedding.weight", (48, 4, 1, 2, 2)),
        "lora_unet_blocks_1_norm3.w_norm": ("blocks.1.norm2.weight", (48,)),
        "lora_unet_blocks_1_norm3.b_norm": ("blocks.1.norm2.bias", (48,)),
    }
    tensors = {name: torch.randn(shape) for name, (_, shape) in values.items()}
    found = deltas(write(tmp_path / "x.safetensors", tensors))
    assert set(found) == {name for name, _ in values.values()}
    for name, (own, _) in values.items():
        assert torch.equal(found[own], tensors[name])


def test_set_weight_replaces(tmp_path):
    value = torch.randn(48, 48)
    found = deltas(write(tmp_path / "x.safetensors", {f"{ORIGINAL}.set_weight": value}))
    assert torch.allclose(weights()[f"{QUERY}.weight"] + found[f"{QUERY}.weight"], value, atol=1e-6)


def test_loha(tmp_path):
    generator = torch.Generator().manual_seed(3)
    parts = {
        "w1_a": torch.randn(48, 3, generator=generator),
        "w1_b": torch.randn(3, 48, generator=generator),
        "w2_a": torch.randn(48, 3, generator=generator),
        "w2_b": torch.randn(3, 48, generator=generator),
    }
    name = "lora_unet_blocks_0_self_attn_q"
    tensors = {f"{name}.hada_{part}": value for part, value in parts.items()} | {f"{name}.alpha": 1.5}
    found = deltas(write(tmp_path / "x.safetensors", tensors))[f"{QUERY}.weight"]
    w1_a, w1_b, w2_a, w2_b = (parts[part].double().numpy() for part in ("w1_a", "w1_b", "w2_a", "w2_b"))
    assert np.allclose(found.numpy(), 0.5 * (w1_a @ w1_b) * (w2_a @ w2_b), atol=1e-5)


@pytest.mark.parametrize("full", [(True, True), (True, False), (False, True), (False, False)])
def test_lokr(full, tmp_path):
    generator = torch.Generator().manual_seed(4)
    name = "lycoris_blocks_0_attn1_to_q"
    sides, factors, tensors = ((6, 4), (8, 12)), [], {f"{name}.alpha": 1.5}
    for number, (is_full, (rows, columns)) in enumerate(zip(full, sides, strict=True), 1):
        left = torch.randn(rows, 3, generator=generator)
        right = torch.randn(3, columns, generator=generator)
        factors.append((left.double() @ right.double()).numpy())
        if is_full:
            tensors[f"{name}.lokr_w{number}"] = left @ right
        else:
            tensors[f"{name}.lokr_w{number}_a"], tensors[f"{name}.lokr_w{number}_b"] = left, right
    found = deltas(write(tmp_path / "x.safetensors", tensors))[f"{QUERY}.weight"]
    # With two full factors alpha is ignored.
    scale = 1.0 if all(full) else 0.5
    assert np.allclose(found.numpy(), scale * np.kron(*factors), atol=1e-4)


@pytest.mark.parametrize("shape", [(48, 1), (48,), (1, 48)])
def test_dora(shape, tmp_path):
    magnitude = torch.rand(shape) + 0.5
    tensors = {
        f"{ORIGINAL}.lora_A.weight": DOWN,
        f"{ORIGINAL}.lora_B.weight": UP,
        f"{ORIGINAL}.dora_scale": magnitude,
    }
    found = deltas(write(tmp_path / "x.safetensors", tensors))[f"{QUERY}.weight"]
    base = weights()[f"{QUERY}.weight"].double().numpy()
    changed = base + (UP @ DOWN).double().numpy()
    axis = 0 if shape == (1, 48) else 1
    column = magnitude.double().numpy().reshape((1, 48) if axis == 0 else (48, 1))
    expected = column * changed / np.linalg.norm(changed, axis=axis, keepdims=True) - base
    assert np.allclose(found.numpy(), expected, atol=1e-5)


def test_mid_of_a_convolution(tmp_path):
    generator = torch.Generator().manual_seed(5)
    down, mid, up = (
        torch.randn(shape, generator=generator)
        for shape in ((3, 4, 1, 1, 1), (2, 3, 1, 2, 2), (48, 2, 1, 1, 1))
    )
    name = "lora_unet_patch_embedding"
    tensors = {
        f"{name}.lora_down.weight": down, f"{name}.lora_mid.weight": mid, f"{name}.lora_up.weight": up,
    }  # fmt: skip
    found = deltas(write(tmp_path / "x.safetensors", tensors))["patch_embedding.weight"]
    video = torch.randn(1, 4, 2, 4, 4, generator=generator)
    conv = torch.nn.functional.conv3d
    expected = conv(conv(conv(video, down), mid, stride=(1, 2, 2)), up)
    assert torch.allclose(conv(video, found, stride=(1, 2, 2)), expected, atol=1e-4)


def test_peft_bias_of_the_second_factor(tmp_path):
    bias = torch.randn(48)
    tensors = {
        f"{ORIGINAL}.lora_A.weight": DOWN,
        f"{ORIGINAL}.lora_B.weight": UP,
        f"{ORIGINAL}.lora_B.bias": bias,
    }
    assert torch.equal(deltas(write(tmp_path / "x.safetensors", tensors))[f"{QUERY}.bias"], bias)


def test_peft_settings_next_to_the_file(tmp_path):
    path = tmp_path / "adapter_model.safetensors"
    name = f"base_model.model.{QUERY}"
    write(path, {f"{name}.lora_A.weight": DOWN, f"{name}.lora_B.weight": UP})
    settings = {"r": 2, "lora_alpha": 8, "alpha_pattern": {"to_k": 3}, "use_rslora": False}
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    assert deltas(path)[f"{QUERY}.weight"][1, 1] == 8
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings | {"alpha_pattern": {"to_q": 2}}))
    assert deltas(path)[f"{QUERY}.weight"][1, 1] == 2
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings | {"use_rslora": True}))
    assert deltas(path)[f"{QUERY}.weight"][1, 1] == pytest.approx(16 / 2**0.5)
    (tmp_path / "adapter_config.json").write_text("[[[")
    with pytest.raises(UserError, match="not a JSON object"):
        open_lora(path)


@pytest.mark.parametrize("alpha", [None, 1.0, 16.0, -2.0])
@pytest.mark.parametrize("lora_format", ["original", "kohya", "diffusers"])
def test_written_files_read_back(lora_format, alpha, tmp_path):
    factors = random_factors(IMAGE_CONFIG)
    tensors = {
        f"base_model.model.{name}.lora_{part}.weight": factor
        for name, pair in factors.items()
        for part, factor in zip("AB", pair, strict=True)
    }
    path = tmp_path / "x.safetensors"
    save_lora(path, tensors, alpha=alpha, lora_format=lora_format, metadata={"kinema_steps": "7"})
    assert open_lora(path).metadata["kinema_steps"] == "7"
    found = deltas(path, IMAGE_CONFIG)
    assert set(found) == {f"{name}.weight" for name in factors}
    for name, (down, up) in factors.items():
        scale = 1 if alpha is None else alpha / 4
        assert torch.allclose(found[f"{name}.weight"], scale * (up @ down), atol=1e-5)


def test_kohya_to_original_and_back_keeps_the_change(tmp_path):
    factors = random_factors(CONFIG)
    path = write_family(tmp_path / "b.safetensors", "B", factors, alpha=3.0)
    before = deltas(path)
    tensors = load_file(path)
    pairs = {}
    for name, value in tensors.items():
        if not name.endswith(".alpha"):
            own = next(own for own in factors if parse_name(name).module == _kohya_name(own))
            pairs[f"{own}.lora_{'A' if 'down' in name else 'B'}.weight"] = value
    save_lora(tmp_path / "a.safetensors", pairs, alpha=3.0)
    original = load_file(tmp_path / "a.safetensors")
    assert all(".alpha" not in name for name in original)
    again = {
        parse_name(name).module + name[-len(".lora_A.weight") :]: value for name, value in original.items()
    }
    save_lora(tmp_path / "c.safetensors", _to_own_names(again, factors), lora_format="kohya")
    for step in ("a", "c"):
        after = deltas(tmp_path / f"{step}.safetensors")
        assert all(torch.allclose(after[name], value, rtol=0, atol=1e-6) for name, value in before.items())


def _kohya_name(own):
    from kinema.models.formats.wan_keys import to_original_transformer_key

    return to_original_transformer_key(own).replace(".", "_")


def _to_own_names(tensors, factors):
    from kinema.models.formats.wan_keys import to_original_transformer_key

    own = {to_original_transformer_key(name): name for name in factors}
    return {
        own[name[: -len(".lora_A.weight")]] + name[-len(".lora_A.weight") :]: value
        for name, value in tensors.items()
    }


def test_image_modules_on_a_model_without_them_are_one_note(tmp_path):
    path = write_family(tmp_path / "x.safetensors", "A", random_factors(IMAGE_CONFIG))
    match = match_lora(open_lora(path), CONFIG, model_name="tiny")
    assert len(match.unknown) == 4
    assert match.note == (
        "x.safetensors is used without 4 modules (blocks.0.attn2.add_k_proj, blocks.0.attn2.add_v_proj, "
        "blocks.1.attn2.add_k_proj and 1 more), which the model does not have"
    )
    assert len(read_changes(match)) == 20


def test_other_input_channels_are_a_note(tmp_path):
    tensors = {
        f"{ORIGINAL}.lora_A.weight": DOWN,
        f"{ORIGINAL}.lora_B.weight": UP,
        "diffusion_model.patch_embedding.diff": torch.randn(48, 9, 1, 2, 2),
    }
    path = write(tmp_path / "x.safetensors", tensors)
    match = match_lora(open_lora(path), CONFIG, model_name="tiny")
    assert match.note.endswith("without 1 module (patch_embedding), whose shape is another one")
    assert list(read_changes(match)) == [f"{QUERY}.weight"]


def test_wrong_base_model_is_one_line(tmp_path):
    config = DitConfig(width=1536, heads=12, layers=1, mlp_width=32)
    path = write_family(tmp_path / "x.safetensors", "B", random_factors(config, rank=1))
    with pytest.raises(
        UserError, match=r"does not fit tiny: .*Wan 2\.1 T2V-1\.3B \(1536 channels\)"
    ) as error:
        match_lora(open_lora(path), CONFIG, model_name="tiny")
    assert "\n" not in str(error.value)


def test_another_kind_of_model_is_one_line(tmp_path):
    tensors = {"lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": DOWN,
               "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight": UP}  # fmt: skip
    with pytest.raises(UserError, match="and tiny has none of these"):
        match_lora(open_lora(write(tmp_path / "x.safetensors", tensors)), CONFIG, model_name="tiny")


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({f"{ORIGINAL}.lora_A.weight": DOWN}, "lacks up"),
        ({f"{ORIGINAL}.lora_A.weight": DOWN, f"{ORIGINAL}.lora_B.weight": UP[:, :1]}, "do not multiply"),
        ({f"{ORIGINAL}.alpha": torch.tensor(1.0)}, "nothing but alpha"),
        (
            {
                f"{ORIGINAL}.lora_A.weight": DOWN,
                f"{ORIGINAL}.lora_B.weight": UP,
                f"{ORIGINAL}.alpha": torch.ones(2),
            },
            "not a single number",
        ),
        ({f"{ORIGINAL}.hada_w1_a": UP, f"{ORIGINAL}.hada_w1_b": DOWN}, "lacks hada_w2_a"),
        ({f"{ORIGINAL}.lokr_w1": UP}, "lacks lokr_w2_a"),
        ({f"{ORIGINAL}.lora_A.weight": DOWN, f"{ORIGINAL}.lokr_w1": UP}, "for one module"),
        ({f"{ORIGINAL}.lora_A.weight": DOWN, "blocks.0.attn1.to_q.lora_B.weight": UP}, "lacks down"),
        ({f"{ORIGINAL}.hada_t1": UP}, "not supported"),
        ({"blocks.0.self_attn.q.weight": UP}, "is no LoRA"),
    ],
)
def test_incomplete_files_are_one_line(tensors, message, tmp_path):
    path = write(tmp_path / "x.safetensors", tensors)
    with pytest.raises(UserError, match=message) as error:
        match_lora(open_lora(path), CONFIG, model_name="tiny")
    assert "\n" not in str(error.value)
    assert "x.safetensors" in str(error.value)


def test_same_module_under_two_names_is_an_error(tmp_path):
    tensors = {}
    for name in (ORIGINAL, f"transformer.{QUERY}"):
        tensors |= {f"{name}.lora_A.weight": DOWN, f"{name}.lora_B.weight": UP}
    with pytest.raises(UserError, match="twice"):
        match_lora(open_lora(write(tmp_path / "x.safetensors", tensors)), CONFIG, model_name="tiny")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_an_error(value, tmp_path):
    up = UP.clone()
    up[3, 0] = value
    tensors = {f"{ORIGINAL}.lora_A.weight": DOWN, f"{ORIGINAL}.lora_B.weight": up}
    match = match_lora(open_lora(write(tmp_path / "x.safetensors", tensors)), CONFIG, model_name="tiny")
    with pytest.raises(UserError, match="not finite"):
        read_changes(match)


def test_pickles_and_missing_files_are_errors(tmp_path):
    torch.save({}, tmp_path / "x.pt")
    with pytest.raises(UserError, match="is a pickle"):
        open_lora(tmp_path / "x.pt")
    with pytest.raises(UserError, match="there is no LoRA"):
        open_lora(tmp_path / "y.safetensors")


@pytest.mark.parametrize(
    ("name", "expert"),
    [
        ("style_high_noise", 0),
        ("style_low_noise", 1),
        ("Wan2.2-HIGH-v2", 0),
        ("wan22_LOW", 1),
        ("styleHighNoise", None),
        ("highlight", None),
        ("slow_motion", None),
        ("flow", None),
        ("high_low_merged", None),
        ("low_noise_model", 1),
        ("HighNoise", 0),
    ],
)
def test_expert_by_name(name, expert, tmp_path):
    path = write_family(tmp_path / f"{name}.safetensors", "A", {QUERY: (DOWN, UP)})
    assert open_lora(path).expert == expert


def test_names_of_two_experts_in_one_file(tmp_path):
    tensors = {}
    for prefix, factor in (("transformer", 1), ("transformer_2", 3)):
        tensors[f"{prefix}.{QUERY}.lora_A.weight"] = DOWN
        tensors[f"{prefix}.{QUERY}.lora_B.weight"] = UP * factor
    file = open_lora(write(tmp_path / "x.safetensors", tensors))
    match = match_lora(file, CONFIG, num_experts=2, model_name="tiny")
    (high,), (low,) = (read_changes(match, expert)[f"{QUERY}.weight"] for expert in (0, 1))
    assert torch.equal(3 * high.delta(torch.empty(48, 48)), low.delta(torch.empty(48, 48)))
    assert match_lora(file, CONFIG, model_name="tiny").unknown == (QUERY,)


def test_writer_refuses_what_is_no_lora(tmp_path):
    path = tmp_path / "x.safetensors"
    good = {f"{QUERY}.lora_A.weight": DOWN, f"{QUERY}.lora_B.weight": UP}
    with pytest.raises(ValueError, match="only one of"):
        save_lora(path, {f"{QUERY}.lora_A.weight": DOWN})
    with pytest.raises(ValueError, match="neither"):
        save_lora(path, good | {f"{QUERY}.weight": UP})
    with pytest.raises(ValueError, match="does not match"):
        save_lora(path, good | {f"{QUERY}.lora_B.weight": UP[:, :1]})
    with pytest.raises(ValueError, match="not finite"):
        save_lora(path, good | {f"{QUERY}.lora_B.weight": UP * float("inf")})
    with pytest.raises(UserError, match="safetensors"):
        save_lora(tmp_path / "x.pt", good)
    assert not list(tmp_path.iterdir())


def test_kohya_header(tmp_path):
    tensors = {f"{QUERY}.lora_A.weight": DOWN, f"{QUERY}.lora_B.weight": UP}
    save_lora(tmp_path / "x.safetensors", tensors, alpha=1.0, lora_format="kohya")
    with safe_open(tmp_path / "x.safetensors", framework="pt") as opened:
        metadata = opened.metadata()
        assert set(opened.keys()) == {
            f"lora_unet_blocks_0_self_attn_q.{part}"
            for part in ("alpha", "lora_down.weight", "lora_up.weight")
        }
        assert opened.get_tensor("lora_unet_blocks_0_self_attn_q.alpha").shape == ()
    assert metadata["ss_network_module"] == "networks.lora_wan"
    assert (metadata["ss_network_dim"], metadata["ss_network_alpha"]) == ("2", "1.0")
