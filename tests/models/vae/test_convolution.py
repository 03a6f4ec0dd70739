"""Every CPU implementation of the convolutions against torch's, for odd sizes and past lengths."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.models.vae import convolution
from kinema.models.vae.cpu import kernels
from kinema.models.vae.cpu import winograd as winograd_module

BOUND = 2e-5


def reference(x, weight, bias, past, gamma):
    """torch's convolution in float64."""
    with torch.enable_grad():
        y, tail = convolution.causal_conv(
            x.double(),
            weight.double(),
            bias.double(),
            None if past is None else past.double(),
            None if gamma is None else gamma.double(),
        )
    return y.detach(), tail.detach()


@settings(max_examples=40, deadline=None)
@given(
    route=st.sampled_from([*get_args(kernels.Route), None]),
    size=st.tuples(*[st.integers(1, n) for n in (2, 4, 9, 11)]),
    channels=st.tuples(st.sampled_from([1, 3, 24, 40]), st.sampled_from([2, 5, 24, 32])),
    known=st.sampled_from([None, 0, 1, 2]),
    normed=st.booleans(),
    packed=st.booleans(),
    overwrite=st.booleans(),
    seed=st.integers(0, 99),
)
def test_causal_conv_implementations_agree(route, size, channels, known, normed, packed, overwrite, seed):
    torch.manual_seed(seed)
    b, f, h, w = size
    c, o = channels
    x = torch.randn(b, f, h, w, c)
    weight = torch.randn(o, c, 3, 3, 3) / (27 * c) ** 0.5
    if packed:
        weight = weight.contiguous(memory_format=torch.channels_last_3d)
    bias = torch.randn(o)
    past = None if known is None else torch.randn(b, known, h, w, c)
    gamma = torch.rand(c) + 0.5 if normed else None
    with torch.no_grad():
        y, tail = kernels.causal_conv(x.clone(), weight, bias, past, gamma, route, overwrite=overwrite)
    expected, expected_tail = reference(x, weight, bias, past, gamma)
    assert (y - expected).abs().max() <= BOUND
    assert tail.shape == expected_tail.shape
    assert (tail - expected_tail).abs().max() <= 1e-5


@pytest.mark.parametrize("winograd", [winograd_module.F2, winograd_module.F4])
@pytest.mark.parametrize("limits", [("_TILE_BYTES",), ("_GROUP_BYTES",), ("_TILE_BYTES", "_GROUP_BYTES")])
def test_winograd_in_small_blocks_gives_the_same_result(monkeypatch, winograd, limits):
    torch.manual_seed(0)
    video = torch.randn(4, 26, 22, 5)
    weight, bias = torch.randn(33, 5, 3, 3, 3), torch.randn(33)
    whole, blocks = torch.empty(3, 24, 20, 33), torch.empty(3, 24, 20, 33)
    winograd_module.convolve(video, weight, bias, whole, known=1, winograd=winograd)
    for limit in limits:
        monkeypatch.setattr(winograd_module, limit, 5000)
    winograd_module.convolve(video, weight, bias, blocks, known=1, winograd=winograd)
    assert torch.equal(whole.isfinite(), torch.ones_like(whole, dtype=torch.bool))
    assert (whole - blocks).abs().max() <= 1e-5 * whole.abs().max()


@settings(max_examples=30, deadline=None)
@given(
    size=st.tuples(*[st.integers(1, n) for n in (2, 3, 9, 7)]),
    channels=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    rows=st.sampled_from([1, 2, 3, 100]),
)
def test_upsample_conv_is_nearest_then_conv(size, channels, rows):
    torch.manual_seed(0)
    b, f, h, w = size
    c, o = channels
    x, weight, bias = torch.randn(b, f, h, w, c), torch.randn(o, c, 3, 3), torch.randn(o)
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(kernels, "_UPSAMPLE_BYTES", rows * w * 9 * o * 4)
        y = convolution.upsample_conv(x, weight, bias)
    frames = F.interpolate(x.flatten(0, 1).permute(0, 3, 1, 2).double(), scale_factor=2, mode="nearest-exact")
    expected = F.conv2d(frames, weight.double(), bias.double(), padding=1).permute(0, 2, 3, 1)
    assert (y.flatten(0, 1) - expected).abs().max() <= 1e-5


@settings(max_examples=30, deadline=None)
@given(f=st.integers(1, 5), known=st.sampled_from([None, 0, 1, 2]), b=st.integers(1, 2))
def test_time_conv_implementations_agree(f, known, b):
    torch.manual_seed(0)
    x, weight, bias = torch.randn(b, f, 3, 2, 4), torch.randn(6, 4, 3, 1, 1), torch.randn(6)
    past = None if known is None else torch.randn(b, known, 3, 2, 4)
    with torch.no_grad():
        y, tail = convolution.time_conv(x, weight, bias, past)
        odd = torch.cat([x, x, x[:, :1]], dim=1)
        down = convolution.time_down_conv(odd, weight, bias)
    expected, expected_tail = convolution.time_conv(x, weight, bias, past)
    assert (y - expected).abs().max() <= 1e-5
    assert torch.equal(tail, expected_tail)
    assert (down - convolution.time_down_conv(odd, weight, bias)).abs().max() <= 1e-5


def test_frame_conv2d_implementations_agree():
    torch.manual_seed(0)
    x, weight, bias, gamma = (
        torch.randn(2, 3, 10, 6, 32),
        torch.randn(40, 32, 3, 3) / 17,
        torch.randn(40),
        torch.rand(32),
    )
    with torch.no_grad():
        plain, normed = (
            convolution.frame_conv2d(x, weight, bias),
            convolution.frame_conv2d(x, weight, bias, gamma),
        )
    assert (plain - convolution.frame_conv2d(x, weight, bias)).abs().max() <= BOUND
    assert (normed - convolution.frame_conv2d(x, weight, bias, gamma)).abs().max() <= BOUND


def test_our_winograd_points_are_more_precise_than_the_usual_ones():
    torch.manual_seed(0)
    video, weight = torch.randn(1, 34, 34, 64), torch.randn(64, 64, 1, 3, 3) / 24
    expected = F.conv2d(video.permute(0, 3, 1, 2).double(), weight[:, :, 0].double()).permute(0, 2, 3, 1)
    errors = []
    for winograd in (
        winograd_module.F4,
        winograd_module.Winograd.from_points(4, (0.0, 1.0, -1.0, 2.0, -2.0)),
    ):
        out = torch.empty(1, 32, 32, 64)
        winograd_module.convolve(video, weight, torch.zeros(64), out, known=0, winograd=winograd)
        errors.append((out - expected).abs().max().item())
    assert errors[0] < 1e-5
    assert errors[0] < errors[1] / 2
