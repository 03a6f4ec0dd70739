"""Reading Wan weights: strict, without pickles, from every published layout."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from kinema.errors import UserError
from kinema.models.formats import safetensors_io, wan_keys
from kinema.models.formats.loader import open_model
from kinema.models.module_init import copy_channels_last
from kinema.models.transformer.dit import Dit
from kinema.models.vae.autoencoder import VideoVae
from kinema.models.vae.vae_config import VaeConfig
from tests.fixtures import wan_fixtures

CPU = torch.device("cpu")
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return wan_fixtures.Saved(tmp_path_factory.mktemp("wan"))


@pytest.fixture
def folder(saved, tmp_path):
    """A copy that the test may change."""
    return shutil.copytree(saved["t2v-2.1"], tmp_path / "model")


def load_dit(folder, dtype=torch.float32) -> Dit:
    return open_model(str(folder)).load_transformer(dtype=dtype, device=CPU)


def rewrite(folder, change):
    """Read the transformer's tensors, change them, write them back."""
    file = folder / "transformer" / WEIGHTS
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


@pytest.mark.parametrize("variant", wan_fixtures.VARIANTS)
def test_every_tensor_of_every_variant_is_loaded(saved, variant):
    model = open_model(str(saved[variant]))
    for expert in range(model.sampling_defaults.num_experts):
        component = "transformer" if expert == 0 else "transformer_2"
        loaded = model.load_transformer(expert, dtype=torch.float32, device=CPU).state_dict()
        for name, value in load_file(saved[variant] / component / WEIGHTS).items():
            assert torch.equal(loaded[name], value), name
    loaded = model.load_vae(device=CPU).state_dict()
    for name, value in load_file(saved[variant] / "vae" / WEIGHTS).items():
        assert torch.equal(loaded[name].reshape(value.shape), value), name


def test_missing_tensor_is_named(folder):
    rewrite(folder, lambda tensors: tensors.pop("blocks.1.attn1.to_q.weight"))
    with pytest.raises(UserError, match=r"lacks tensor 'blocks\.1\.attn1\.to_q\.weight'"):
        load_dit(folder)


def test_extra_tensor_is_named(folder):
    rewrite(folder, lambda tensors: tensors.update({"blocks.7.surprise": torch.zeros(2)}))
    with pytest.raises(UserError, match=r"has no tensor 'blocks\.7\.surprise'"):
        load_dit(folder)


def test_misshapen_tensor_is_named_with_both_shapes(folder):
    rewrite(folder, lambda tensors: tensors.update({"proj_out.bias": torch.zeros(65)}))
    with pytest.raises(UserError, match=r"'proj_out\.bias' of the transformer is 65 and must be 64"):
        load_dit(folder)


@pytest.mark.parametrize("ending", [".bin", ".pt", ".ckpt", ".pth"])
def test_pickles_are_refused_unopened(folder, ending):
    file = folder / "transformer" / WEIGHTS
    file.unlink()
    # Not a pickle: opening it would raise another error.
    file.with_suffix(ending).write_bytes(b"not a pickle")
    with pytest.raises(UserError, match="pickle, which can run code"):
        load_dit(folder)


def test_damaged_file_is_named(folder):
    file = folder / "transformer" / WEIGHTS
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(UserError, match="not a complete safetensors file"):
        load_dit(folder)


@pytest.mark.parametrize("component", ["transformer", "vae", "text_encoder", "scheduler"])
def test_missing_component_is_named(folder, component):
    shutil.rmtree(folder / component)
    with pytest.raises(UserError, match=component):
        open_model(str(folder)).load_text_encoder(dtype=torch.float32, device=CPU)


def test_shards_load_like_one_file(saved, tmp_path):
    sharded = wan_fixtures.save_variant("t2v-2.1", tmp_path / "sharded", shard="150KB")
    files = list((sharded / "transformer").glob("*.safetensors"))
    assert len(files) > 1
    one, many = load_dit(saved["t2v-2.1"]).state_dict(), load_dit(sharded).state_dict()
    assert all(torch.equal(one[name], many[name]) for name in one)
    files[0].unlink()
    with pytest.raises(UserError, match=f"{files[0].name} is missing"):
        load_dit(sharded)


def test_float32_parameters_are_those_of_diffusers(saved):
    from diffusers import WanTransformer3DModel

    for variant in ("t2v-2.1", "flf2v-2.1"):
        theirs = WanTransformer3DModel.from_pretrained(
            saved[variant], subfolder="transformer", torch_dtype=torch.bfloat16
        )
        types = {name: value.dtype for name, value in theirs.state_dict().items()}
        assert len(set(types.values())) == 2
        ours = load_dit(saved[variant], torch.bfloat16).state_dict()
        assert {name: value.dtype for name, value in ours.items()} == types


def test_weights_are_memory_mapped(saved):
    module = load_dit(saved["t2v-2.1"])
    maps = Path("/proc/self/maps").read_text()
    file = str(saved["t2v-2.1"] / "transformer" / WEIGHTS)
    [line] = [line for line in maps.splitlines() if line.endswith(file)]
    start, stop = (int(side, 16) for side in line.split()[0].split("-"))
    for name, value in module.state_dict().items():
        assert start <= value.data_ptr() < stop, name


ORIGINAL_BLOCK = [
    "modulation",
    "norm3.weight",
    "norm3.bias",
    "self_attn.q.weight",
    "self_attn.q.bias",
    "self_attn.k.weight",
    "self_attn.k.bias",
    "self_attn.v.weight",
    "self_attn.v.bias",
    "self_attn.o.weight",
    "self_attn.o.bias",
    "self_attn.norm_q.weight",
    "self_attn.norm_k.weight",
    "cross_attn.q.weight",
    "cross_attn.q.bias",
    "cross_attn.k.weight",
    "cross_attn.k.bias",
    "cross_attn.v.weight",
    "cross_attn.v.bias",
    "cross_attn.o.weight",
    "cross_attn.o.bias",
    "cross_attn.norm_q.weight",
    "cross_attn.norm_k.weight",
    "ffn.0.weight",
    "ffn.0.bias",
    "ffn.2.weight",
    "ffn.2.bias",
]
ORIGINAL_IMAGE_BLOCK = [
    "cross_attn.k_img.weight",
    "cross_attn.k_img.bias",
    "cross_attn.v_img.weight",
    "cross_attn.v_img.bias",
    "cross_attn.norm_k_img.weight",
]
ORIGINAL_REST = [
    "patch_embedding.weight",
    "patch_embedding.bias",
    "text_embedding.0.weight",
    "text_embedding.0.bias",
    "text_embedding.2.weight",
    "text_embedding.2.bias",
    "time_embedding.0.weight",
    "time_embedding.0.bias",
    "time_embedding.2.weight",
    "time_embedding.2.bias",
    "time_projection.1.weight",
    "time_projection.1.bias",
    "head.modulation",
    "head.head.weight",
    "head.head.bias",
]
ORIGINAL_IMAGE_REST = [
    "img_emb.proj.0.weight",
    "img_emb.proj.0.bias",
    "img_emb.proj.1.weight",
    "img_emb.proj.1.bias",
    "img_emb.proj.3.weight",
    "img_emb.proj.3.bias",
    "img_emb.proj.4.weight",
    "img_emb.proj.4.bias",
    "img_emb.emb_pos",
]


def original_transformer_names(*, image: bool) -> list[str]:
    """The names in Wan's own repository, from `wan/modules/model.py`, for two blocks."""
    block_names = ORIGINAL_BLOCK + (ORIGINAL_IMAGE_BLOCK if image else [])
    names = ORIGINAL_REST + (ORIGINAL_IMAGE_REST if image else [])
    return names + [f"blocks.{block}.{name}" for block in range(2) for name in block_names]


@pytest.mark.parametrize("variant", ["t2v-2.1", "flf2v-2.1"])
@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_original_transformer_names(saved, tmp_path, variant, prefix):
    from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers

    names = original_transformer_names(image=variant.startswith("flf"))
    theirs = {}
    for name in names:
        [theirs[name]] = convert_wan_transformer_to_diffusers({name: torch.zeros(1)})
    # The only name that diffusers' single-file reader does not convert; its folder script does.
    theirs = {
        name: "condition_embedder.image_embedder.pos_embed" if name.endswith("emb_pos") else other
        for name, other in theirs.items()
    }
    assert {name: wan_keys.convert_transformer_key(prefix + name) for name in names} == theirs
    folder = shutil.copytree(saved[variant], tmp_path / "model")
    expected = load_dit(folder).state_dict()
    original = {ours: prefix + name for name, ours in theirs.items()}
    assert original.keys() == expected.keys()
    file = folder / "transformer" / WEIGHTS
    save_file({original[name]: value for name, value in load_file(file).items()}, file)
    loaded = load_dit(folder).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in expected.items())


def original_vae_names(config: VaeConfig) -> list[str]:
    """The names in Wan's own repository, from `vae.py` and `vae2_2.py`."""
    names = [f"conv{i}.{kind}" for i in (1, 2) for kind in ("weight", "bias")]
    residual = ["residual.0.gamma", "residual.3.gamma"]
    residual += [f"residual.{i}.{kind}" for i in (2, 6) for kind in ("weight", "bias")]
    for side, width, blocks, change in (
        ("encoder", config.base_dim, config.num_res_blocks, "downsamples"),
        ("decoder", config.decoder_dim, config.num_res_blocks + 1, "upsamples"),
    ):
        for end in ("conv1", "head.2"):
            names += [f"{side}.{end}.{kind}" for kind in ("weight", "bias")]
        names += [f"{side}.head.0.gamma", f"{side}.middle.1.norm.gamma"]
        names += [
            f"{side}.middle.1.{layer}.{kind}" for layer in ("to_qkv", "proj") for kind in ("weight", "bias")
        ]
        names += [f"{side}.middle.{i}.{name}" for i in (0, 2) for name in residual]
        flat = 0
        dims = [width * mult for mult in config.dim_mult]
        if side == "encoder":
            stages = list(zip([width, *dims[:-1]], dims, strict=True))
            temporal = list(config.temporal_downsample)
        else:
            stages = list(zip([dims[-1], *dims[::-1][:-1]], dims[::-1], strict=True))
            temporal = list(config.temporal_downsample)[::-1]
        for stage, (inputs, outputs) in enumerate(stages):
            if side == "decoder" and not config.residual and stage:
                inputs = inputs // 2  # In 2.1 the upsampling layer also halves the channels.
            for block in range(blocks):
                stage_prefix = (
                    f"{side}.{change}.{stage}.{change}.{block}"
                    if config.residual
                    else f"{side}.{change}.{flat}"
                )
                names += [f"{stage_prefix}.{name}" for name in residual]
                if block == 0 and inputs != outputs:
                    names += [f"{stage_prefix}.shortcut.{kind}" for kind in ("weight", "bias")]
                flat += 1
            if stage < len(stages) - 1:
                stage_prefix = (
                    f"{side}.{change}.{stage}.{change}.{blocks}"
                    if config.residual
                    else f"{side}.{change}.{flat}"
                )
                names += [f"{stage_prefix}.resample.1.{kind}" for kind in ("weight", "bias")]
                if temporal[stage]:
                    names += [f"{stage_prefix}.time_conv.{kind}" for kind in ("weight", "bias")]
                flat += 1
    return names


@pytest.mark.parametrize(
    "config",
    [VaeConfig.wan21(), VaeConfig.wan22(), VaeConfig.tiny(residual=True)],
    ids=["2.1", "2.2", "tiny"],
)
def test_original_vae_names(config):
    names = original_vae_names(config)
    ours = [wan_keys.convert_vae_key(name, residual_blocks=config.num_res_blocks) for name in names]
    with torch.device("meta"):
        expected = VideoVae(config).state_dict()
    assert len(set(ours)) == len(names)
    assert set(ours) == set(expected)
    if not config.residual:
        from diffusers.loaders.single_file_utils import convert_wan_vae_to_diffusers

        theirs = convert_wan_vae_to_diffusers({name: name for name in names})
        assert {wan_keys.convert_vae_key(name, residual_blocks=2): name for name in names} == theirs


def test_unknown_model_names_are_refused(tmp_path, monkeypatch):
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def offline(*_, **__):
        raise LocalEntryNotFoundError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(UserError, match="hub can't be reached") as caught:
        open_model("some-owner/some-model")
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="there is no model 'no such thing'"):
        open_model("no such thing")
    with pytest.raises(UserError, match=r"neither kinema\.json nor model_index\.json"):
        open_model(str(tmp_path))


def test_no_pickles_are_downloaded(saved, monkeypatch):
    import huggingface_hub

    requested = {}

    def download(name, *, allow_patterns):
        requested[name] = allow_patterns
        return str(saved["t2v-2.1"])

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert open_model("owner/model").name == "owner/model"
    patterns = requested["owner/model"]
    files = [
        "transformer/model.bin",
        "vae/vae.pth",
        "text_encoder/model.safetensors",
        "tokenizer/tokenizer.json",
    ]
    kept = huggingface_hub.utils.filter_repo_objects(files, allow_patterns=patterns)
    assert list(kept) == files[2:]


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("model_index.json", {"_class_name": "FluxPipeline"}, "is a FluxPipeline"),
        ("transformer/config.json", {"qk_norm": None}, "qk_norm = None"),
        ("transformer/config.json", {"num_layers": "2"}, "positive integer num_layers"),
        ("transformer/config.json", {"in_channels": 96}, "of no known variant"),
        ("vae/config.json", {"z_dim": 8}, "latents_mean"),
        ("vae/config.json", {"scale_factor_spatial": 16}, "strides"),
        ("scheduler/scheduler_config.json", {"solver_order": 3}, "solver_order = 3"),
        ("scheduler/scheduler_config.json", {"_class_name": "DDIMScheduler"}, "DDIMScheduler"),
    ],
)
def test_unsupported_settings_are_named(folder, file, change, message):
    values = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(values | change))
    with pytest.raises(UserError, match=message) as caught:
        open_model(str(folder))
    assert "\n" not in str(caught.value)


def test_kernels_are_copied_to_channels_last_at_the_first_use(saved, monkeypatch):
    monkeypatch.setattr(safetensors_io, "_MIN_SEPARATE_NUMEL", 1)  # The kernels of the test are small.
    vae = open_model(str(saved["t2v-2.1"])).load_vae(device=CPU)
    loaded = dict(vae.named_parameters())
    fresh = dict(VideoVae(VaeConfig.tiny()).named_parameters())
    kernels = [name for name in loaded if name.endswith(("conv1.weight", "conv2.weight"))]
    decoders = [name for name in kernels if name.startswith("decoder.")]
    assert len(kernels) > len(decoders) > 0
    assert not fresh[kernels[0]].is_contiguous()
    file = str(saved["t2v-2.1"] / "vae" / WEIGHTS)
    assert Path("/proc/self/maps").read_text().count(file) >= len(kernels)
    # The decoder copies its kernels when it first runs, and their mappings are closed.
    with torch.no_grad():
        vae.decode(torch.zeros(1, vae.config.z_dim, 1, 4, 4))
    for name in kernels:
        is_channels_last = loaded[name].is_contiguous(memory_format=torch.channels_last_3d)
        assert is_channels_last == (name in decoders), name
    assert Path("/proc/self/maps").read_text().count(file) <= len(kernels) - len(decoders) + 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("shape", [(5, 3, 3, 3, 3), (5, 3, 1, 1, 1), (1, 7, 3, 1, 1), (4, 1, 1, 3, 3)])
def test_copy_channels_last_equals_torch(shape, dtype):
    value = torch.randn(shape).to(dtype)
    copy = copy_channels_last(value)
    assert torch.equal(copy, value)
    assert copy.is_contiguous(memory_format=torch.channels_last_3d)
    assert copy.data_ptr() != value.data_ptr()
    assert copy.dtype == dtype
