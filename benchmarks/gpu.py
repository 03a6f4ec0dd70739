"""Time and memory of a transformer step against diffusers, for the sizes of Wan, on random weights.

Everything is offline. Both sides run the prompt and the negative prompt (guidance), start from encoded text,
and are measured one after the other in one process: the median of several steps, and the peak of the GPU's
memory above zero (on a CPU it is not measured).
"""

from __future__ import annotations

import dataclasses
import gc
import importlib.util
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import Tensor, nn

from benchmarks.harness import describe_machine
from kinema.models.module_init import skip_init
from kinema.models.text_encoders.base import TextEmbeddings
from kinema.models.transformer import dit_config
from kinema.models.transformer.attention import AttentionBackend, missing_backend_reason
from kinema.models.transformer.dit import Dit
from kinema.models.transformer.dit_config import DitConfig
from kinema.models.transformer.text_context import concat_contexts

PROMPT_TOKENS = (60, 126)
"""Tokens of the prompt and of the negative prompt; the default negative prompt of Wan has 126."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A model and the latents of a video."""

    name: str
    config: DitConfig
    latents: tuple[int, int, int]
    """Latent frames, rows, columns."""


@dataclass(frozen=True, kw_only=True)
class StepCost:
    """One line of the table; `gib` is None where it is not measured, `seconds` where it did not run."""

    shape: str
    implementation: str
    attention: str
    mode: str
    seconds: float | None
    gib: float | None
    note: str = ""


def shapes(*, tiny: bool) -> tuple[Shape, ...]:
    """The models of Wan at the sizes that they are made for; `tiny` for a rehearsal.

    A14B has two transformers of the same size; one step runs one of them.
    """
    if tiny:
        small = dataclasses.replace(dit_config.tiny(), width=128, heads=2, mlp_width=256)
        return tuple(
            Shape(name=f"{name} (tiny)", config=dataclasses.replace(small, layers=layers), latents=(3, 8, 8))
            for name, layers in (("1.3B", 2), ("5B", 3), ("A14B", 4))
        )
    return (
        Shape(name="1.3B, 81 frames 832x480", config=dit_config.wan21_t2v_1_3b(), latents=(21, 60, 104)),
        Shape(name="5B, 121 frames 1280x704", config=dit_config.wan22_ti2v_5b(), latents=(31, 44, 80)),
        Shape(name="A14B, 81 frames 832x480", config=dit_config.wan21_t2v_14b(), latents=(21, 60, 104)),
    )


def measure(*, device: torch.device, tiny: bool, rounds: int, compiled: bool) -> Iterator[StepCost]:
    """Measure every shape with every attention back end, and diffusers where it is installed.

    Args:
        device: where both run.
        tiny: small models.
        rounds: steps after the first; their median counts.
        compiled: measure with torch.compile as well.
    """
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    for shape in shapes(tiny=tiny):
        yield from _measure_kinema(shape, device, dtype, rounds, compiled)
        _free()
        yield from _measure_diffusers(shape, device, dtype, rounds, compiled)
        _free()


def _measure_kinema(
    shape: Shape, device: torch.device, dtype: torch.dtype, rounds: int, compiled: bool
) -> Iterator[StepCost]:
    config = shape.config
    with skip_init():
        dit = Dit(config).eval().requires_grad_(False)
    dit.cast(dtype).to_empty(device=device)
    _fill(dit)
    latents, states, sigma = _inputs(shape, device, dtype)
    with torch.no_grad():
        context = concat_contexts([dit.context(TextEmbeddings.from_list([state])) for state in states])

    def step(backend: AttentionBackend) -> Tensor:
        with torch.no_grad():
            conditional, unconditional = dit(latents, sigma, context, backend=backend).chunk(2)
            return unconditional + 5.0 * (conditional - unconditional)

    for mode in ("eager", "compiled") if compiled else ("eager",):
        if mode == "compiled":
            for block in dit.blocks:
                block.compile()
        for backend in get_args(AttentionBackend):
            reason = missing_backend_reason(backend, device)
            seconds, gib, note = None, None, reason or ""
            if reason is None:
                seconds, gib, note = _time(lambda backend=backend: step(backend), device, rounds)
            yield StepCost(
                shape=shape.name, implementation="kinema", attention=backend, mode=mode, seconds=seconds,
                gib=gib, note=note,
            )  # fmt: skip


def _measure_diffusers(
    shape: Shape, device: torch.device, dtype: torch.dtype, rounds: int, compiled: bool
) -> Iterator[StepCost]:
    if importlib.util.find_spec("diffusers") is None:
        yield StepCost(
            shape=shape.name, implementation="diffusers", attention="", mode="", seconds=None, gib=None,
            note="not installed: pip install diffusers",
        )  # fmt: skip
        return
    from diffusers import WanTransformer3DModel

    config = shape.config
    with torch.device("meta"):
        model: Any = WanTransformer3DModel(
            num_attention_heads=config.heads, attention_head_dim=config.head_width,
            in_channels=config.in_channels, out_channels=config.out_channels, text_dim=config.text_width,
            ffn_dim=config.mlp_width, num_layers=config.layers,
        )  # fmt: skip
    model = model.eval().requires_grad_(False).to(dtype).to_empty(device=device)
    _fill(model)
    with torch.device(device):
        # Its tables of positions are buffers, which have no values yet.
        model.rope = type(model.rope)(
            config.head_width, model.config.patch_size, model.config.rope_max_seq_len
        )
    latents, states, _ = _inputs(shape, device, dtype)
    length = max(config.text_length, *PROMPT_TOKENS) if config.text_length > 100 else config.text_length
    padded = [nn.functional.pad(state, (0, 0, 0, length - len(state)))[None] for state in states]
    timestep = torch.tensor([937], device=device)

    def step() -> Tensor:
        with torch.no_grad():
            conditional, unconditional = (
                model(latents, timestep, state, return_dict=False)[0] for state in padded
            )
            return unconditional + 5.0 * (conditional - unconditional)

    for mode in ("eager", "compiled") if compiled else ("eager",):
        if mode == "compiled":
            for block in model.blocks:
                block.compile()
        seconds, gib, note = _time(step, device, rounds)
        yield StepCost(
            shape=shape.name, implementation="diffusers", attention="its default", mode=mode,
            seconds=seconds, gib=gib, note=note,
        )  # fmt: skip


def _fill(model: nn.Module) -> None:
    """Small random numbers: zero-initialised layers would let kernels skip work and hide errors."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.02)


def _inputs(shape: Shape, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, list[Tensor], Tensor]:
    config, (frames, height, width) = shape.config, shape.latents
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(1, config.in_channels, frames, height, width, generator=generator)
    counts = [min(count, config.text_length - 2) for count in PROMPT_TOKENS]
    states = [torch.randn(count, config.text_width, generator=generator) for count in counts]
    sigma = torch.full((1, frames), 0.937, dtype=torch.float64)
    return latents.to(device, dtype), [state.to(device, dtype) for state in states], sigma


def _time(
    step: Callable[[], Tensor], device: torch.device, rounds: int
) -> tuple[float | None, float | None, str]:
    """Median seconds of a step, the peak of memory in GiB, and why it failed."""
    is_gpu = device.type == "cuda"
    if is_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    times = []
    try:
        for _ in range(rounds + 1):
            start = time.perf_counter()
            step()
            if is_gpu:
                torch.cuda.synchronize(device)
            times.append(time.perf_counter() - start)
    except (RuntimeError, ImportError) as error:
        _free()
        return None, None, str(error).splitlines()[0][:100]
    gib = torch.cuda.max_memory_allocated(device) / 2**30 if is_gpu else None
    return statistics.median(times[1:]), gib, ""


def _free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def print_markdown(costs: Iterator[StepCost]) -> None:
    """Print each line when it is measured, as a Markdown table, and the machine below."""
    print("| model | implementation | attention | mode | s / step | GiB | note |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for cost in costs:
        seconds = "" if cost.seconds is None else f"{cost.seconds:.4g}"
        gib = "" if cost.gib is None else f"{cost.gib:.2f}"
        print(
            f"| {cost.shape} | {cost.implementation} | {cost.attention} | {cost.mode} | {seconds} | {gib} "
            f"| {cost.note} |",
            flush=True,
        )
    print(f"\n{describe_machine()}")
