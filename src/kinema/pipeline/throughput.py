"""A micro-benchmark of the device on the model's own layer sizes; takes about a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional

from kinema.models.transformer.dit_config import DitConfig
from kinema.models.vae.convolution import causal_conv
from kinema.models.vae.vae_config import VaeConfig

_SECONDS = 0.25


@dataclass(frozen=True, kw_only=True)
class DeviceThroughput:
    """Operations per second of matrix products, attention and convolutions; bytes per second from memory.

    A multiplication and an addition are two operations. Convolutions are counted as direct ones.
    """

    matmul: float
    attention: float
    convolution: float
    bandwidth: float


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
