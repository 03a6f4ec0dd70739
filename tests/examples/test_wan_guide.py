"""Every command in the table of docs/guides/wan.md, on tiny weights in the named layouts."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from kinema.cli import main
from kinema.media.read import read_video
from kinema.media.write import write_video
from tests.fixtures import wan_files, wan_fixtures, wan_videos

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:diffusers", "ignore::UserWarning:transformers")
GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "wan.md"
VAE, TEXT = "--vae wan_2.1_vae.safetensors", "--text-encoder Wan2.1-T2V-1.3B-Diffusers"


def commands() -> list[str]:
    text = GUIDE.read_text()
    found = re.findall(r"^\|[^|]*\|[^|]*\| `(kinema [^`]*)` \|$", text, re.MULTILINE)
    assert f"`$VAE` is `{VAE}`" in text
    assert f"`$TEXT` is `{TEXT}`" in text
    return [command.replace("$VAE", VAE).replace("$TEXT", TEXT) for command in found]


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """All files and folders that the commands name."""
    import diffusers

    root = tmp_path_factory.mktemp("guide")
    folder = wan_files.save_folder(root / "Wan2.1-T2V-1.3B-Diffusers")
    original = wan_files.original_tensors(folder)
    shutil.copy(folder / "vae/diffusion_pytorch_model.safetensors", root / "wan_2.1_vae.safetensors")
    stored, _ = wan_files.fp8_scaled(original, suffix="scale_weight", per_row=False)
    save_file(stored, root / "wan2.1_t2v_14B_fp8_scaled.safetensors")
    save_file(wan_files.int8_rows(original)[0], root / "wan2.1_t2v_14B_int8.safetensors")
    wan_files.write_gguf(root / "wan2.1-t2v-14b-Q4_K.gguf", original, "Q4_K")
    half = {name: value.half() for name, value in original.items()}
    for name in (
        "wan2.1_t2v_14b_lightx2v_4step",
        "wan2.2_t2v_high_noise_14B_fp16",
        "wan2.2_t2v_low_noise_14B_fp16",
    ):
        save_file(half, root / f"{name}.safetensors")
    torch.save(
        {"generator_ema": {f"model.{n}": v for n, v in original.items()}}, root / "self_forcing_dmd.pt"
    )
    lora = {
        f"diffusion_model.blocks.0.self_attn.q.lora_{side}.weight": torch.full(shape, 0.01)
        for side, shape in (("down", (4, 256)), ("up", (256, 4)))
    }
    save_file(lora, root / "lightx2v_T2V_14B_cfg_step_distill_lora.safetensors")
    wan_fixtures.save_variant("flf2v-2.1", root / "Wan2.1-FLF2V-14B-720P-Diffusers")
    wan_fixtures.save_variant("ti2v-5b-2.2", root / "Wan2.2-TI2V-5B-Diffusers")
    scheduler = diffusers.UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True)
    tokenizer = wan_fixtures.tokenizer()
    parts = {
        "tokenizer": tokenizer,
        "text_encoder": wan_fixtures.text_encoder(len(tokenizer)),
        "vae": wan_fixtures.vae(residual=False),
        "scheduler": scheduler,
    }
    diffusers.WanVACEPipeline(
        **parts, transformer=wan_files.transformer(control_layers=(0,))
    ).save_pretrained(root / "Wan2.1-VACE-1.3B-diffusers")
    skyreels = diffusers.SkyReelsV2Transformer3DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        text_dim=wan_fixtures.TEXT_WIDTH,
        ffn_dim=64,
        num_layers=1,
        inject_sample_info=True,
    )
    diffusers.SkyReelsV2DiffusionForcingPipeline(**parts, transformer=skyreels).save_pretrained(
        root / "SkyReels-V2-DF-1.3B-540P-Diffusers"
    )
    fun = root / "Wan2.1-Fun-Control-1.3B-Diffusers"
    control = diffusers.WanTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=48,
        out_channels=16,
        text_dim=wan_fixtures.TEXT_WIDTH,
        ffn_dim=64,
        num_layers=1,
    )
    diffusers.WanPipeline(**parts, transformer=control).save_pretrained(fun)
    for number, name in enumerate(("first", "last")):
        Image.fromarray(wan_videos.smooth_image(number, 32)).save(root / f"{name}.png")
    mask = np.zeros((32, 32), np.uint8)
    mask[8:24, 8:24] = 255
    Image.fromarray(mask).save(root / "mask.png")
    clip = np.stack([np.roll(wan_videos.smooth_image(3, 32), 2 * shift, axis=1) for shift in range(9)])
    write_video(root / "clip.mp4", clip, fps=16)
    return root


@pytest.mark.slow
@pytest.mark.parametrize("command", commands())
def test_command_of_the_guide(files, tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(files)
    arguments = shlex.split(command)[1:]
    out = tmp_path / "video.mp4"
    arguments += ["--out", str(out), "--dtype", "float32", "--device", "cpu"]
    if arguments[0] == "generate":
        arguments += ["--size", "32x32"]
        if "--control" not in arguments and "--seconds" not in arguments:
            arguments += ["--num-frames", "5"]
    if arguments[0] == "extend":
        arguments += ["--num-frames", "8"]
    if not any(word in command for word in ("lightx2v", "--recipe", "self_forcing")):
        arguments += ["--num-inference-steps", "2"]
    main(arguments)
    errors = capsys.readouterr().err
    name = arguments[arguments.index("--model") + 1]
    assert f"{name}: " in errors
    expected = {"extend": 17, "edit": 9}.get(arguments[0], 9 if "--control" in arguments else 5)
    expected = 33 if "--seconds" in arguments else expected
    assert len(read_video(out).frames) == expected


def test_the_table_has_every_wrapping():
    text = " ".join(commands())
    for part in (
        "fp8_scaled",
        ".gguf",
        "int8",
        ".pt ",
        "high_noise",
        "VACE",
        "SkyReels",
        "Fun-Control",
        "--fast",
        "--recipe",
    ):
        assert part in text, part
