"""Every wrapping of Wan weights: the same numbers, one line for what can't be read."""

from __future__ import annotations

import dataclasses
import json
import pickle
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from kinema.errors import UserError
from kinema.models.formats import gguf_file, torch_pickle
from kinema.models.formats.loader import open_model
from kinema.models.formats.wan_keys import convert_transformer_key, to_original_transformer_key
from kinema.models.transformer import dit_config
from kinema.models.transformer.dit import Dit
from tests.fixtures import wan_files, wan_fixtures

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return wan_files.save_folder(tmp_path_factory.mktemp("wan") / "folder")


@pytest.fixture(scope="module")
def original(folder):
    return wan_files.original_tensors(folder)


def open_file(path: Path, folder: Path):
    return open_model(str(path), vae=str(folder), text_encoder=str(folder))


def check_equal(path: Path, folder: Path, exact) -> str:
    """The transformer in a file has exactly these original-named weights; its description."""
    model = open_file(path, folder)
    loaded = model.load_transformer(dtype=torch.float32, device=CPU).state_dict()
    assert loaded.keys() == {convert_transformer_key(name) for name in exact}
    for name, value in exact.items():
        assert torch.equal(loaded[convert_transformer_key(name)], value.float()), name
    return model.description


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model.", "diffusion_model."])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_comfyui_files(folder, original, tmp_path, prefix, dtype):
    file = tmp_path / "wan2.1_t2v_1.3B.safetensors"
    stored = {prefix + name: value.to(dtype) for name, value in original.items()}
    save_file(stored, file)
    description = check_equal(file, folder, {name: value.to(dtype) for name, value in original.items()})
    kind = {torch.float32: "float32", torch.bfloat16: "bf16", torch.float16: "fp16"}[dtype]
    assert description == f"Wan 2.1 T2V (single file, safetensors, {kind})"


@pytest.mark.parametrize(
    ("suffix", "per_row"), [("scale_weight", False), ("scale_weight", True), ("weight_scale", True)]
)
def test_fp8_with_scales(folder, original, tmp_path, suffix, per_row):
    stored, exact = wan_files.fp8_scaled(original, suffix=suffix, per_row=per_row)
    marker = {"scaled_fp8": torch.zeros(2, dtype=torch.float8_e4m3fn)}
    unused = {"blocks.0.self_attn.q.scale_input": torch.ones(())}
    if suffix == "weight_scale":
        unused["blocks.0.self_attn.q.comfy_quant"] = wan_files.comfy_quant("float8_e4m3fn")
    save_file(stored | marker | unused, tmp_path / "fp8_scaled.safetensors")
    description = check_equal(tmp_path / "fp8_scaled.safetensors", folder, exact)
    assert "fp8 with scales" in description


def test_int8_of_lightx2v(folder, original, tmp_path):
    stored, exact = wan_files.int8_rows(original)
    save_file(stored, tmp_path / "wan_int8.safetensors")
    assert "int8 with scales" in check_equal(tmp_path / "wan_int8.safetensors", folder, exact)


@pytest.mark.parametrize("kind", ["Q8_0", "Q6_K", "Q5_K", "Q4_K", "Q4_0", "F16"])
def test_gguf(folder, original, tmp_path, kind):
    file = tmp_path / f"wan2.1-t2v-{kind}.gguf"
    exact = wan_files.write_gguf(file, original, kind)
    assert f"GGUF, {kind}" in check_equal(file, folder, exact)


@pytest.mark.parametrize("outer", ["generator_ema", "generator", None])
@pytest.mark.parametrize("parameters", [False, True])
def test_files_of_torch_save(folder, original, tmp_path, outer, parameters):
    state = {
        f"model.{name}": torch.nn.Parameter(value) if parameters else value
        for name, value in original.items()
    }
    state["model.blocks.0.self_attn.q.weight"] = (
        state["model.blocks.0.self_attn.q.weight"].t().contiguous().t()
    )
    content = state if outer is None else {outer: state, "step": 600, "other": [1, "x", None]}
    torch.save(content, tmp_path / "weights.pt")
    assert "torch.save, float32" in check_equal(tmp_path / "weights.pt", folder, original)


def test_a_module_s_state_dict_keeps_its_attributes_out(tmp_path):
    torch.save(torch.nn.Linear(2, 3).state_dict(), tmp_path / "linear.pt")
    found = torch_pickle.list_pickled_tensors(tmp_path / "linear.pt")
    assert {name: tensor.shape for name, tensor in found.items()} == {"weight": (3, 2), "bias": (3,)}


def test_pickles_run_nothing(folder, tmp_path):
    trap = tmp_path / "trap"
    wan_files.evil_pickle(tmp_path / "evil.pt", trap)
    with pytest.raises(UserError, match=r"names (io|builtins|_io)\.open, which could run code"):
        open_file(tmp_path / "evil.pt", folder)
    assert not trap.exists()
    (tmp_path / "old.pt").write_bytes(pickle.dumps({}))
    with pytest.raises(UserError, match=r"only zip files of torch\.save"):
        open_file(tmp_path / "old.pt", folder)


@given(data=st.binary(max_size=200))
def test_damaged_pickles_are_user_errors(tmp_path_factory, data):
    file = tmp_path_factory.mktemp("pickle") / "x.pt"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", data)
    with pytest.raises(UserError):
        torch_pickle.list_pickled_tensors(file)


def test_a_tensor_that_repeats_its_numbers_is_refused(tmp_path):
    torch.save({"x": torch.zeros(1).expand(10**6)}, tmp_path / "x.pt")
    with pytest.raises(UserError, match="reaches beyond its numbers"):
        torch_pickle.list_pickled_tensors(tmp_path / "x.pt")


@given(cut=st.integers(0, 2000), byte=st.integers(0, 255))
def test_damaged_gguf_files_are_user_errors(gguf_bytes, tmp_path_factory, cut, byte):
    file = tmp_path_factory.mktemp("gguf") / "x.gguf"
    damaged = bytearray(gguf_bytes)
    damaged[cut % len(damaged)] ^= byte
    file.write_bytes(damaged[: len(damaged) - cut % 7])
    try:
        found, _ = gguf_file.list_gguf_tensors(file)
    except UserError:
        return
    assert all(tensor.file == file for tensor in found.values())


@pytest.fixture(scope="module")
def gguf_bytes(tmp_path_factory):
    file = tmp_path_factory.mktemp("gguf") / "small.gguf"
    wan_files.write_gguf(file, {"blocks.0.ffn.0.weight": torch.randn(4, 64), "b": torch.randn(3)}, "Q8_0")
    return file.read_bytes()


def test_gguf_type_that_is_not_supported(folder, tmp_path):
    import gguf

    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "wan")
    writer.add_tensor(
        "blocks.0.ffn.0.weight", np.zeros((2, 66), np.uint8), raw_dtype=gguf.GGMLQuantizationType.IQ2_XXS
    )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(UserError, match=r"GGUF type IQ2_XXS, which is not supported; .*Q8_0"):
        open_file(tmp_path / "x.gguf", folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"blocks.0.ffn.0.weight_global_scale": torch.ones(1)}, "4-bit weights"),
        ({"blocks.0.ffn.0.comfy_quant": wan_files.comfy_quant("nvfp4")}, "the format 'nvfp4'"),
        ({"blocks.9.ffn.0.scale_weight": torch.ones(1)}, "a scale .* without its weight"),
    ],
)
def test_8_bit_files_that_can_t_be_read(folder, original, tmp_path, change, message):
    stored, _ = wan_files.fp8_scaled(original, suffix="scale_weight", per_row=False)
    save_file(stored | change, tmp_path / "x.safetensors")
    with pytest.raises(UserError, match=message):
        open_file(tmp_path / "x.safetensors", folder)


def test_a_lora_in_place_of_a_model(folder, tmp_path):
    save_file(
        {"diffusion_model.blocks.0.self_attn.q.lora_A.weight": torch.zeros(2, 2)}, tmp_path / "l.safetensors"
    )
    with pytest.raises(UserError, match="a LoRA is given with --lora"):
        open_file(tmp_path / "l.safetensors", folder)


def test_missing_parts_are_named_with_where_to_get_them(folder, original, tmp_path):
    save_file(original, tmp_path / "wan.safetensors")
    with pytest.raises(UserError, match=r"comes without its VAE and text encoder.*--vae: .*--text-encoder: "):
        open_model(str(tmp_path / "wan.safetensors"))
    with pytest.raises(UserError, match=r"comes without its text encoder;"):
        open_model(str(tmp_path / "wan.safetensors"), vae=str(folder / "vae"))


def test_parts_are_found_where_comfyui_keeps_them(folder, original, tmp_path):
    for name in ("diffusion_models/wan", "vae", "text_encoders/tokenizer"):
        (tmp_path / name).mkdir(parents=True)
    file = tmp_path / "diffusion_models/wan/wan2.1_t2v.safetensors"
    save_file(original, file)
    shutil.copy(folder / "vae/diffusion_pytorch_model.safetensors", tmp_path / "vae/wan_2.1_vae.safetensors")
    encoder = load_file(folder / "text_encoder/model.safetensors")
    encoder["spiece_model"] = torch.zeros(5, dtype=torch.uint8)
    save_file(encoder, tmp_path / "text_encoders/umt5_xxl_fp16.safetensors")
    shutil.copytree(folder / "tokenizer", tmp_path / "text_encoders/tokenizer", dirs_exist_ok=True)
    model = open_model(str(file))
    one = model.load_text_encoder(dtype=torch.float32, device=CPU).encode(["a red ball"])
    other = open_model(str(folder)).load_text_encoder(dtype=torch.float32, device=CPU).encode(["a red ball"])
    assert torch.equal(one.hidden_states, other.hidden_states)
    ours, theirs = model.load_vae(device=CPU), open_model(str(folder)).load_vae(device=CPU)
    assert model.vae == open_model(str(folder)).vae
    assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in ours.state_dict().items())


def test_the_original_folder(folder, original, tmp_path):
    target = tmp_path / "Wan2.1-T2V"
    target.mkdir()
    save_file(original, target / "diffusion_pytorch_model.safetensors")
    settings = {"_class_name": "WanModel", "dim": 256, "num_heads": 2, "model_type": "t2v"}
    (target / "config.json").write_text(json.dumps(settings))
    torch.save(wan_fixtures.original_vae(folder), target / "Wan2.1_VAE.pth")
    torch.save(wan_fixtures.original_umt5(folder), target / "models_t5_umt5-xxl-enc-bf16.pth")
    shutil.copytree(folder / "tokenizer", target / "google/umt5-xxl")
    model = open_model(str(target))
    assert model.description == "Wan 2.1 T2V (original folder, safetensors, float32)"
    reference = open_model(str(folder))
    for ours, theirs in (
        (
            model.load_transformer(dtype=torch.float32, device=CPU),
            reference.load_transformer(dtype=torch.float32, device=CPU),
        ),
        (model.load_vae(device=CPU), reference.load_vae(device=CPU)),
    ):
        expected = theirs.state_dict()
        assert all(torch.equal(value, expected[name]) for name, value in ours.state_dict().items())
    one = model.load_text_encoder(dtype=torch.float32, device=CPU).encode(["a red ball"])
    other = reference.load_text_encoder(dtype=torch.float32, device=CPU).encode(["a red ball"])
    assert torch.equal(one.hidden_states, other.hidden_states)


def test_two_experts_in_two_files(folder, original, tmp_path):
    high, low = (tmp_path / f"wan2.2_t2v_{side}_noise_14B.safetensors" for side in ("high", "low"))
    save_file(original, high)
    with pytest.raises(UserError, match=rf"the one for low noise is missing; put {low.name} beside it"):
        open_file(high, folder)
    save_file({name: value + 1 for name, value in original.items()}, low)
    for path in (high, low, tmp_path):
        model = open_file(path, folder)
        assert (model.sampling_defaults.boundary_ratio, model.sampling_defaults.flow_shift) == (0.875, 12.0)
        first, second = (
            model.load_transformer(expert, dtype=torch.float32, device=CPU).proj_out.bias for expert in (0, 1)
        )
        assert torch.equal(first + 1, second)


def test_control_blocks_of_a_single_file(folder, tmp_path):
    from kinema.models.formats.wan_keys import to_original_transformer_key

    theirs = wan_files.transformer(layers=4, control_layers=(0, 2)).state_dict()
    save_file(
        {to_original_transformer_key(name): value for name, value in theirs.items()},
        tmp_path / "vace.safetensors",
    )
    model = open_file(tmp_path / "vace.safetensors", folder)
    assert model.dit.control_layers == (0, 2)
    assert model.sampling_defaults.image_conditioning == "control"
    ours = model.load_transformer(dtype=torch.float32, device=CPU).state_dict()
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())


def test_an_autoencoder_of_another_model(folder, original, tmp_path):
    save_file(original, tmp_path / "wan.safetensors")
    other = wan_fixtures.save_variant("ti2v-5b-2.2", tmp_path / "other")
    with pytest.raises(
        UserError, match=r"12 latent channels and .* has 16; give the autoencoder of Wan 2\.1"
    ):
        open_model(str(tmp_path / "wan.safetensors"), vae=str(other), text_encoder=str(folder))


@pytest.mark.parametrize(
    "parts", [{"control_layers": (0, 1)}, {"image_width": 32, "image_positions": 34, "fps_embedding": True}]
)
def test_names_are_translated_in_both_directions(parts):
    with torch.device("meta"):
        dit = Dit(dataclasses.replace(dit_config.tiny(), **parts))
    layers = [name for name, module in dit.named_modules() if isinstance(module, torch.nn.Linear)]
    names = [*layers, *(name for name, _ in dit.named_parameters())]
    originals = [to_original_transformer_key(name) for name in names]
    assert [convert_transformer_key(name) for name in originals] == names
    assert "blocks.0.cross_attn.o.weight" in originals
    assert not any("attn1" in name or "condition_embedder." in name for name in originals)
