"""Compiled blocks: the same video, kept code, and LoRAs that are not lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
import torch

from kinema.errors import UserError
from kinema.models.lora.apply import apply_loras
from kinema.models.lora.match import match_lora
from kinema.models.lora.reader import open_lora
from kinema.models.text_encoders.base import TextEmbeddings
from kinema.models.transformer import dit_config
from kinema.models.transformer.dit import Dit
from kinema.pipeline.pipeline import load
from tests.fixtures.lora_files import random_factors, write_family


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"compile_mode": "graphs"}, "CUDA graphs run on an NVIDIA GPU, not on cpu; give blocks"),
        ({"compile_mode": "fast"}, "compile_mode can't be 'fast'; give one of off, blocks, graphs"),
        (
            {"compile_mode": "blocks", "memory": "blocks"},
            "compiled blocks run in one process and stay on the",
        ),
    ],
)
def test_what_does_not_go_together_is_one_line(settings, message):
    with pytest.raises(UserError, match=message):
        load("world", device="cpu", **settings)


def test_a_lora_of_a_compiled_transformer_is_not_lost(tmp_path):
    config = dit_config.tiny()
    torch.manual_seed(0)
    dit = Dit(config).eval().requires_grad_(False)
    for parameter in dit.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    prompt = dit.context(TextEmbeddings.from_list([torch.randn(5, config.text_width)]))
    latents = torch.randn(1, config.in_channels, 2, 4, 4)
    file = write_family(tmp_path / "x.safetensors", "A", random_factors(config))
    match = match_lora(open_lora(file), config, model_name="tiny")
    expected = apply_loras(dit, [(match, 1.0)])(latents, torch.full((1, 2), 0.7), prompt)
    for block in dit.blocks:
        block.compile(backend="eager")
    assert dit.blocks[0]._compiled_call_impl is not None
    found = apply_loras(dit, [(match, 1.0)])(latents, torch.full((1, 2), 0.7), prompt)
    assert torch.equal(found, expected)


COMPARE = """
import sys
import numpy as np
import kinema
settings = {"size": (64, 64), "num_frames": 5, "num_inference_steps": 2}
eager, compiled = (
    kinema.load("world", device="cpu", dtype="float32", compile_mode=mode).generate("a red ball", **settings)
    for mode in ("off", "blocks")
)
print(np.abs(eager.frames.astype(int) - compiled.frames).max())
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_the_video_is_the_same_and_code_is_kept(tmp_path):
    """In a process of its own: the compiler can't read functions with checked shapes."""
    environment = {key: value for key, value in os.environ.items() if "CACHE_DIR" not in key}
    environment |= {"XDG_CACHE_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, "-c", COMPARE], env=environment, capture_output=True, text=True, check=True
    )
    assert int(run.stdout.split()[-1]) <= 1
    assert len([path for path in (tmp_path / "kinema" / "compiled").rglob("*") if path.is_file()]) > 3
