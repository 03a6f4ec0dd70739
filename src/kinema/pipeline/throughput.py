"""The speed of this machine: a micro-benchmark on the model's own sizes, corrected by finished videos."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch.nn import functional

from kinema.models.transformer.dit_config import DitConfig
from kinema.models.vae.convolution import causal_conv
from kinema.models.vae.vae_config import VaeConfig
from kinema.pipeline.machine_cache import cached_numbers, machine_key, read_numbers, write_numbers
from kinema.pipeline.memory_policy import MemoryPolicy
from kinema.pipeline.progress import Event, SamplingStep

_SECONDS = 0.25
_MIN_STEPS = 4
"""Steps from which the speed of sampling is taken; the first one loads weights."""
_RATIO_RANGE = (0.2, 50.0)
"""Accepted ratios of measured to estimated time. A paused process is not a slow machine."""


@dataclass(frozen=True, kw_only=True)
class DeviceThroughput:
    """Operations per second of matrix products, attention and convolutions; bytes per second from memory.

    A multiplication and an addition are two operations. Convolutions are counted as direct ones.
    """

    matmul: float
    attention: float
    convolution: float
    bandwidth: float

    def transformer_seconds(self, linear: float, attention: float) -> float:
        """The time of a forward pass with these operations, see `kinema.models.flops.dit_step_flops`."""
        return linear / self.matmul + attention / self.attention


def cached_throughput(
    dit: DitConfig, vae: VaeConfig, *, device: torch.device, dtype: torch.dtype
) -> DeviceThroughput:
    """The throughput of this machine, measured once for each device, type and width."""
    key = machine_key(
        device,
        kind="throughput",
        width=dit.width,
        heads=dit.heads,
        channels=vae.decoder_dim,
        dtype=str(dtype),
    )
    fields = {field.name for field in dataclasses.fields(DeviceThroughput)}
    found = cached_numbers(
        key, lambda: dataclasses.asdict(measure_throughput(dit, vae, device=device, dtype=dtype))
    )
    if found.keys() != fields or min(found.values()) <= 0:
        return measure_throughput(dit, vae, device=device, dtype=dtype)
    return DeviceThroughput(**found)


def sampling_time_ratio(
    dit: DitConfig, throughput: DeviceThroughput, *, device: torch.device, policy: MemoryPolicy
) -> float:
    """Measured over estimated time of the last videos of a model on this machine; 1 before the first.

    Args:
        dit: the transformer.
        throughput: of this machine.
        device: where it runs.
        policy: in which type.
    """
    found = read_numbers(_observation_key(dit, device, policy))
    if found is None or found.keys() != {"seconds", "linear", "attention"}:
        return 1.0
    estimated = throughput.transformer_seconds(found["linear"], found["attention"])
    if estimated <= 0:
        return 1.0
    return min(max(found["seconds"] / estimated, _RATIO_RANGE[0]), _RATIO_RANGE[1])


def observe_sampling_time(
    events: Iterator[Event],
    *,
    step_operations: Callable[[], tuple[float, float]],
    dit: DitConfig,
    device: torch.device,
    policy: MemoryPolicy,
) -> Iterator[Event]:
    """Pass events on; afterwards keep how long the steps took, for `sampling_time_ratio`.

    The throughput of the machine is not measured here: that would take time at the end of a video. Time that
    the reader of the events takes is not counted.

    Args:
        events: of one video.
        step_operations: those of one step in linear layers and in attention.
        dit: the transformer.
        device: where it runs.
        policy: in which type.
    """
    durations: list[float] = []
    start = time.perf_counter()
    for event in events:
        if isinstance(event, SamplingStep):
            durations.append(time.perf_counter() - start)
        yield event
        start = time.perf_counter()
    if len(durations) < _MIN_STEPS:
        return
    linear, attention = step_operations()
    new = {"seconds": statistics.median(durations[1:]), "linear": linear, "attention": attention}
    before = read_numbers(_observation_key(dit, device, policy)) or {}
    write_numbers(
        _observation_key(dit, device, policy),
        {name: (value + before.get(name, value)) / 2 for name, value in new.items()},
    )


def _observation_key(dit: DitConfig, device: torch.device, policy: MemoryPolicy) -> str:
    eight_bits = policy.has_eight_bits
    return machine_key(device, kind="sampling", dit=repr(dit), dtype=str(policy.dtype), int8=eight_bits)


@torch.no_grad()
def measure_throughput(
    dit: DitConfig, vae: VaeConfig, *, device: torch.device, dtype: torch.dtype
) -> DeviceThroughput:
    """Measure layers of the model's widths on few tokens and pixels."""
    width, tokens = dit.width, 512 if device.type == "cpu" else 4096
    x = torch.randn(tokens, width, device=device, dtype=dtype)
    weight = torch.randn(width, width, device=device, dtype=dtype)
    product = _measure_rate(lambda: functional.linear(x, weight), 2.0 * tokens * width * width, device)
    heads = torch.randn(1, dit.heads, tokens, dit.head_width, device=device, dtype=dtype)
    attention = _measure_rate(
        lambda: functional.scaled_dot_product_attention(heads, heads, heads),
        4.0 * tokens * tokens * width,
        device,
    )
    channels, side = 2 * vae.decoder_dim, 48 if device.type == "cpu" else 128
    frames = torch.randn(1, 4, side, side, channels, device=device)
    kernel = torch.randn(channels, channels, 3, 3, 3, device=device) / channels
    bias = torch.zeros(channels, device=device)
    _, past = causal_conv(frames, kernel, bias, None)
    convolution = _measure_rate(
        lambda: causal_conv(frames, kernel, bias, past),
        2.0 * 27 * channels * channels * 4 * side * side,
        device,
    )
    many = torch.zeros(2**25, device=device)
    return DeviceThroughput(
        matmul=product,
        attention=attention,
        convolution=convolution,
        bandwidth=_measure_rate(many.sum, 4.0 * 2**25, device),
    )


def _measure_rate(work: Callable[[], object], amount: float, device: torch.device) -> float:
    """Amount per second of the fastest call within `_SECONDS`."""
    work()
    best, elapsed = float("inf"), 0.0
    while elapsed < _SECONDS:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        duration = time.perf_counter() - start
        best, elapsed = min(best, duration), elapsed + duration
    return amount / best
