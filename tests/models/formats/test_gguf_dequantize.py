"""Our dequantisation against the package `gguf`: bit for bit, on random blocks."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
import torch
from gguf.quants import dequantize as reference

from kinema.models.formats.gguf_dequantize import BLOCK_SIZES, dequantize


@pytest.mark.filterwarnings("ignore::RuntimeWarning:gguf")
@pytest.mark.parametrize(
    "kind", ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "BF16"]
)
def test_numbers_are_those_of_the_package(kind):
    quantization = gguf.GGMLQuantizationType[kind]
    _, block_bytes = gguf.GGML_QUANT_SIZES[quantization]
    # Random bytes have infinite and undefined scales too. 6,000 blocks are more than one batch.
    blocks = np.random.default_rng(0).integers(0, 256, (6000, block_bytes), dtype=np.uint8)
    with np.errstate(all="ignore"):
        expected = reference(blocks, quantization).reshape(-1)
    found = dequantize(torch.from_numpy(blocks).flatten(), kind).numpy()
    assert found.dtype == np.float32
    known = ~np.isnan(expected)
    assert np.array_equal(known, ~np.isnan(found))
    assert np.array_equal(expected[known].view(np.uint32), found[known].view(np.uint32))


@pytest.mark.parametrize(("kind", "dtype"), [("F32", np.float32), ("F16", np.float16)])
def test_plain_numbers(kind, dtype):
    values = np.linspace(-3, 3, 50).astype(dtype)
    assert torch.equal(
        dequantize(torch.from_numpy(values.view(np.uint8)), kind), torch.from_numpy(values).float()
    )


def test_block_sizes_are_those_of_the_package():
    for kind, sizes in BLOCK_SIZES.items():
        assert gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]] == sizes
