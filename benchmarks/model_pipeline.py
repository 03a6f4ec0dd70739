"""Whole pipeline against diffusers: prompt to video, peak memory, import and load time."""

from __future__ import annotations

import contextlib
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness import BenchRow, ProcessUsage, run_subprocess, time_paired

_PROMPT = "a red ball rolls to the left and a blue cube rests on the floor " * 4
_NEGATIVE_PROMPT = "blurry flat grey " * 20
_FOUR_SIGMAS = [1.0, 0.75, 0.5, 0.25]
"""Of step-distilled weights, before the shift."""
_GENERATE_OURS = """
import sys, warnings
warnings.simplefilter("ignore")
import torch
torch.set_num_threads(int(sys.argv[4]))
import kinema
pipe = kinema.load(sys.argv[1], device="cpu", dtype="float32", memory="high", text_cache=False)
pipe.generate(sys.argv[2], negative_prompt=sys.argv[3], size=(128, 128), num_frames=17,
              num_inference_steps=2, guidance_scale=5.0)
"""
_GENERATE_THEIRS = """
import sys, warnings
warnings.simplefilter("ignore")
import torch
torch.set_num_threads(int(sys.argv[4]))
from diffusers import WanPipeline
pipe = WanPipeline.from_pretrained(sys.argv[1])
pipe.set_progress_bar_config(disable=True)
pipe(prompt=sys.argv[2], negative_prompt=sys.argv[3], height=128, width=128, num_frames=17,
     num_inference_steps=2, guidance_scale=5.0, output_type="pil")
"""
_LOAD_OURS = """
import sys, time, warnings
warnings.simplefilter("ignore")
import torch
import kinema
kinema.load
start = time.process_time()
pipe = kinema.load(sys.argv[1], device="cpu", dtype="bfloat16", memory="high")
pipe.preload()
print(time.process_time() - start)
"""
_LOAD_THEIRS = """
import sys, time, warnings
warnings.simplefilter("ignore")
import torch
from diffusers import WanPipeline
start = time.process_time()
pipe = WanPipeline.from_pretrained(sys.argv[1], torch_dtype=torch.bfloat16)
print(time.process_time() - start)
"""


def end_to_end(rounds: int) -> BenchRow:
    """Prompt to video, both sides in this process, in alternating order."""
    from diffusers import WanPipeline

    from kinema.pipeline.pipeline import load

    with _small_checkpoint() as folder:
        ours = load(folder, device="cpu", dtype="float32", memory="high", text_cache=False)
        theirs: Any = WanPipeline.from_pretrained(folder)
        theirs.set_progress_bar_config(disable=True)

        def run_theirs() -> object:
            return theirs(
                prompt=_PROMPT,
                negative_prompt=_NEGATIVE_PROMPT,
                height=128,
                width=128,
                num_frames=17,
                num_inference_steps=8,
                guidance_scale=5.0,
                output_type="pil",
            )

        def run_ours() -> object:
            return ours.generate(
                _PROMPT,
                negative_prompt=_NEGATIVE_PROMPT,
                size=(128, 128),
                num_frames=17,
                num_inference_steps=8,
                guidance_scale=5.0,
            )

        # The first request loads the weights.
        ours.generate(
            _PROMPT,
            negative_prompt=_NEGATIVE_PROMPT,
            size=(16, 16),
            num_frames=1,
            num_inference_steps=1,
            guidance_scale=5.0,
        )
        return time_paired(run_ours, run_theirs, rounds=rounds, warmup=0).to_row(
            "whole pipeline, 17 frames 128x128, 8 steps, VAE of Wan 2.1",
            at_most=0.44,
            note="transformer of width 384, 12 layers; UMT5 of 8 layers, width 1024",
        )


def distilled(rounds: int) -> BenchRow:
    """Prompt to video in four steps with the same step-distilled LoRA on both sides."""
    from diffusers import FlowMatchEulerDiscreteScheduler, WanPipeline

    from kinema.pipeline.pipeline import load
    from kinema.pipeline.request import Lora

    with _small_checkpoint() as folder:
        lora = _save_lora(folder.parent / "lightx2v_4steps.safetensors", width=384, layers=12)
        ours = load(folder, device="cpu", dtype="float32", memory="high", text_cache=False)
        theirs: Any = WanPipeline.from_pretrained(folder)
        theirs.set_progress_bar_config(disable=True)
        scheduler: Any = FlowMatchEulerDiscreteScheduler(shift=5.0)
        # diffusers' pipeline can't be given noise levels, its scheduler can.
        set_timesteps = scheduler.set_timesteps
        scheduler.set_timesteps = lambda *_, device=None: set_timesteps(sigmas=_FOUR_SIGMAS, device=device)
        theirs.scheduler = scheduler
        theirs.load_lora_weights(str(lora), low_cpu_mem_usage=False)

        def run_theirs() -> object:
            return theirs(
                prompt=_PROMPT,
                height=128,
                width=128,
                num_frames=17,
                num_inference_steps=4,
                guidance_scale=1.0,
                output_type="pil",
            )

        def run_ours() -> object:
            return ours.generate(
                _PROMPT, size=(128, 128), num_frames=17, loras=[Lora(file=lora)], recipe="lightning-4"
            )

        # The first request loads the weights and applies the LoRA.
        ours.generate(_PROMPT, size=(16, 16), num_frames=1, loras=[Lora(file=lora)], recipe="lightning-4")
        return time_paired(run_ours, run_theirs, rounds=rounds, warmup=0).to_row(
            "4-step pipeline with a LoRA, 17 frames 128x128",
            at_most=0.48,
            note="transformer of width 384, 12 layers; UMT5 of 8 layers; both use the same LoRA of rank 16",
        )


def _save_lora(file: Path, *, width: int, layers: int) -> Path:
    """A random LoRA of rank 16 on all attention layers, in the form of lightx2v's files."""
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for block in range(layers):
        for layer in ("self_attn", "cross_attn"):
            for name in "qkvo":
                stem = f"diffusion_model.blocks.{block}.{layer}.{name}"
                tensors[f"{stem}.lora_down.weight"] = torch.randn(16, width, generator=generator) * 0.02
                tensors[f"{stem}.lora_up.weight"] = torch.randn(width, 16, generator=generator) * 0.02
    save_file(tensors, file)
    return file


def peak_memory(rounds: int) -> BenchRow:
    """Peak memory of a fresh process that loads the pipeline and generates one video."""
    del rounds
    with _small_checkpoint() as folder:
        arguments = (str(folder), _PROMPT, _NEGATIVE_PROMPT, str(torch.get_num_threads()))
        ours, theirs = (
            run_subprocess(_GENERATE_OURS, *arguments),
            run_subprocess(_GENERATE_THEIRS, *arguments),
        )
    return BenchRow(
        label="whole pipeline, peak memory of a fresh process",
        ours=ours.peak_mib,
        theirs=theirs.peak_mib,
        ratio=ours.peak_mib / theirs.peak_mib,
        at_most=0.90,
        unit="MiB",
        note="2 steps; more steps need no more memory",
    )


def import_time(rounds: int) -> BenchRow:
    """CPU seconds of a process that imports kinema and nothing else."""
    return BenchRow(
        label="import kinema, CPU",
        ours=statistics.median(run_subprocess("import kinema").cpu_seconds for _ in range(rounds)),
        at_most=0.5,
        note="torch is imported on first use",
    )


def load_time(rounds: int) -> BenchRow:
    """Load transformer and autoencoder, in fresh processes in alternating order."""
    load_times: list[tuple[float, float]] = []
    process_times: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory(prefix="kinema-bench-") as folder:
        checkpoint = str(
            save_checkpoint(
                Path(folder) / "large", width=1024, layers=24, text_layers=1, dtype=torch.bfloat16
            )
        )
        for round_index in range(rounds):
            usage: dict[str, ProcessUsage] = {}
            order = [_LOAD_OURS, _LOAD_THEIRS]
            for code in order if round_index % 2 == 0 else order[::-1]:
                usage[code] = run_subprocess(code, checkpoint)
            ours, theirs = usage[_LOAD_OURS], usage[_LOAD_THEIRS]
            load_times.append((float(ours.stdout.split()[-1]), float(theirs.stdout.split()[-1])))
            process_times.append((ours.cpu_seconds, theirs.cpu_seconds))
    with_imports = statistics.median(a / b for a, b in process_times)
    return BenchRow(
        label="load a folder of 400M parameters",
        ours=statistics.median(a for a, _ in load_times),
        theirs=statistics.median(b for _, b in load_times),
        ratio=statistics.median(a / b for a, b in load_times),
        at_most=0.30,
        note=f"transformer and VAE, without text encoder; {with_imports:.2f} with imports",
    )


@contextlib.contextmanager
def _small_checkpoint() -> Iterator[Path]:
    """Folder of a small pipeline with an autoencoder of full size."""
    with tempfile.TemporaryDirectory(prefix="kinema-bench-") as folder:
        yield save_checkpoint(
            Path(folder) / "small", width=384, layers=12, text_layers=8, dtype=torch.float32
        )


def save_checkpoint(
    folder: Path,
    *,
    width: int,
    layers: int,
    text_layers: int,
    dtype: torch.dtype = torch.float32,
    head_width: int = 64,
) -> Path:
    """A text-to-video pipeline in the layout of Wan 2.1 with random weights, saved by diffusers."""
    import diffusers as untyped
    from transformers import T5Tokenizer, UMT5Config, UMT5EncoderModel

    diffusers: Any = untyped  # The annotated scheduler class is not the one that its folders name.
    words = sorted(set((_PROMPT + _NEGATIVE_PROMPT).split()))
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(f"▁{word}", -3.0) for word in words]
    tokenizer = T5Tokenizer(vocab=pieces, extra_ids=0, additional_special_tokens=[])
    torch.manual_seed(0)
    encoder: Any = UMT5EncoderModel(
        UMT5Config(
            vocab_size=len(pieces), d_model=1024, d_kv=64, d_ff=2816, num_layers=text_layers, num_heads=16
        )
    )
    transformer = diffusers.WanTransformer3DModel(
        num_attention_heads=width // head_width,
        attention_head_dim=head_width,
        text_dim=1024,
        ffn_dim=4 * width,
        num_layers=layers,
    )
    vae = diffusers.AutoencoderKLWan()
    diffusers.WanPipeline(
        tokenizer=tokenizer,
        text_encoder=encoder.to(dtype),
        vae=vae.eval(),
        transformer=transformer.to(dtype),
        scheduler=diffusers.UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
    ).save_pretrained(folder)
    return folder
