"""A training step of the transformer against the bare matrix products of its shapes, in one process.

The products of a step (forward, backward and the Newton-Schulz iterations of Muon) are recorded once, without
compilation. Then training steps and the same products on random matrices take turns. Their ratio is the share
of the machine's speed in matrix products that training reaches.
"""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.harness import BenchRow
from kinema.data.latent_cache import LatentDataset
from kinema.models.formats.loader import open_model
from kinema.models.formats.native import KinemaCheckpoint
from kinema.shapes import LatentShape, VideoShape
from kinema.training.dit_task import DitTask, DitTrainConfig
from kinema.training.loop import LoopConfig, train
from kinema.training.optimizer import OptimizerConfig, Optimizers

STEPS_PER_ROUND = 2
MIN_SHARE = 0.5
_CAPTION_TOKENS = (12, 20, 36)
Product = tuple[int, int, int, int]
"""Batch, rows, inner length and columns of a product of matrices."""


def run_benchmark(*, model: str = "world-teacher", batch_size: int = 32, rounds: int = 3) -> list[BenchRow]:
    """The share of the speed of matrix products that training steps reach.

    Args:
        model: whose transformer is trained, on random latents of its own video format.
        batch_size: videos in a step.
        rounds: of two steps and the products of two steps each.
    """
    checkpoint = open_model(model)
    assert isinstance(checkpoint, KinemaCheckpoint)
    loop = LoopConfig(
        steps=10**6,
        validate_every=10**6,
        save_every=10**6,
        optimizer=OptimizerConfig(learning_rate=1e-6, muon_learning_rate=1e-6),
    )
    config = DitTrainConfig(batch_size=batch_size, model=checkpoint.dit, compile_blocks=True, loop=loop)
    data = _random_latents(checkpoint, 2 * batch_size)
    products = record_products(dataclasses.replace(config, compile_blocks=False), data)
    flops = sum(2.0 * b * m * k * n * count for (b, m, k, n), count in products.items())
    matrices = {one: _random_matrices(one) for one in products}
    step_rates, product_rates = [], []
    with tempfile.TemporaryDirectory() as folder:
        reports = train(_build_task(config, data), loop, Path(folder), settings={})
        for _ in range(2):  # These compile.
            next(reports)
        before = next(reports).seconds
        for _ in range(rounds):
            after = [next(reports).seconds for _ in range(STEPS_PER_ROUND)][-1]
            step_rates.append(STEPS_PER_ROUND * flops / (after - before))
            before = after
            start = time.perf_counter()
            for _ in range(STEPS_PER_ROUND):
                multiply(products, matrices)
            product_rates.append(STEPS_PER_ROUND * flops / (time.perf_counter() - start))
    shares = [step / product for step, product in zip(step_rates, product_rates, strict=True)]
    return [
        BenchRow(
            label=f"training step of {batch_size} videos, GFLOP/s in matrix products",
            ours=statistics.median(step_rates) / 1e9,
            theirs=statistics.median(product_rates) / 1e9,
            unit="",
            note=f"{flops / 1e9:.0f} GFLOP in {sum(products.values())} products",
        ),
        BenchRow(
            label="share of the speed of the products alone",
            ours=statistics.median(shares),
            unit="",
            note=f"asked: {MIN_SHARE} or more; rounds {', '.join(f'{share:.2f}' for share in shares)}",
        ),
    ]


def record_products(config: DitTrainConfig, data: LatentDataset) -> Counter[Product]:
    """The matrix products of a training step by their shapes, and how often each is computed."""
    task = _build_task(config, data)
    optimizers = Optimizers.from_module(
        task.module, config.loop.optimizer, muon_parameters=task.muon_parameters()
    )
    with _ProductRecorder() as recorder:
        task.loss(0, 0, 1).value.backward()
        optimizers.step(0, 1)
    return recorder.products


def multiply(products: Counter[Product], matrices: dict[Product, tuple[Tensor, Tensor]]) -> None:
    """Compute all products of a step."""
    for one, count in products.items():
        left, right = matrices[one]
        for _ in range(count):
            torch.bmm(left, right)


def _build_task(config: DitTrainConfig, data: LatentDataset) -> DitTask:
    return DitTask(config, [data], [data.subset(0, 2)], torch.device("cpu"))


def _random_latents(checkpoint: KinemaCheckpoint, count: int) -> LatentDataset:
    defaults, generator = checkpoint.sampling_defaults, torch.Generator().manual_seed(0)
    width, height = defaults.size
    video = VideoShape(frames=defaults.num_frames, height=height, width=width)
    shape = LatentShape.of(video, checkpoint.vae.stride)
    latents = torch.randn(
        count, checkpoint.dit.in_channels, shape.frames, shape.height, shape.width, generator=generator
    )
    texts = tuple(
        torch.randn(tokens, checkpoint.dit.text_width, generator=generator)
        for tokens in (*_CAPTION_TOKENS, 2)
    )
    captions = tuple((index % len(_CAPTION_TOKENS),) for index in range(count))
    return LatentDataset(latents=latents, captions=captions, text_embeddings=texts)


def _random_matrices(product: Product) -> tuple[Tensor, Tensor]:
    batch, rows, inner, columns = product
    return torch.randn(batch, rows, inner), torch.randn(batch, inner, columns)


class _ProductRecorder(TorchDispatchMode):
    """Counts the matrix products that are computed within it."""

    def __init__(self) -> None:
        super().__init__()
        self.products: Counter[Product] = Counter()

    def __torch_dispatch__(self, func: Any, types: Sequence[Any], args: Any = (), kwargs: Any = None) -> Any:
        operation = func.overloadpacket
        aten = torch.ops.aten
        if operation in (aten.mm, aten.bmm):
            self._add(*args[:2])
        elif operation in (aten.addmm, aten.baddbmm):
            self._add(*args[1:3])
        elif operation is aten._scaled_dot_product_flash_attention_for_cpu:
            self._add_attention(*args[:3], times=1)
        elif operation is aten._scaled_dot_product_flash_attention_for_cpu_backward:
            # The scores once more, and the gradients of values, probabilities, queries and keys.
            self._add_attention(*args[1:4], times=2)
            self._add(args[1].flatten(0, 1), args[2].flatten(0, 1).mT)
        return func(*args, **(kwargs or {}))

    def _add(self, left: Tensor, right: Tensor) -> None:
        batch = left.shape[0] if left.ndim == 3 else 1
        self.products[batch, left.shape[-2], left.shape[-1], right.shape[-1]] += 1

    def _add_attention(self, query: Tensor, key: Tensor, value: Tensor, *, times: int) -> None:
        query, key, value = (one.flatten(0, 1) for one in (query, key, value))
        for _ in range(times):
            self._add(query, key.mT)
            self.products[len(query), query.shape[1], key.shape[1], value.shape[2]] += 1
