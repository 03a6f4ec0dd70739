"""The matrix products of a training step, against torch's own count of operations."""

import torch
from benchmarks.train_step import multiply, record_products
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from kinema.models.transformer.dit_config import small
from kinema.training.dit_task import DitTask, DitTrainConfig
from kinema.training.loop import LoopConfig
from kinema.training.optimizer import OptimizerConfig, Optimizers
from tests.fixtures.training_data import random_latents

ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(
        q, k, v
    ),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: lambda g, q, k, v, *_, **__: (
        sdpa_backward_flop_count(g, q, k, v)
    ),
}
"""Torch's own formulas, which it does not use for this kernel."""
LOOP = LoopConfig(optimizer=OptimizerConfig(learning_rate=1e-3, muon_learning_rate=1e-3))
CONFIG = DitTrainConfig(
    batch_size=6, precision="float32", model=small(width=64, layers=2, channels=4, grid=(2, 2)), loop=LOOP
)


def test_recorded_products_are_those_that_torch_counts():
    data = random_latents(12, 3, 4, 4)
    products = record_products(CONFIG, data)
    recorded = sum(2 * b * m * k * n * count for (b, m, k, n), count in products.items())
    task = DitTask(CONFIG, [data], [data.subset(0, 2)], torch.device("cpu"))
    optimizers = Optimizers.from_module(task.module, LOOP.optimizer, muon_parameters=task.muon_parameters())
    with FlopCounterMode(display=False, custom_mapping=ATTENTION) as counter:
        task.loss(0, 0, 1).value.backward()
        optimizers.step(0, 1)
    assert recorded == counter.get_total_flops() > 0


def test_all_products_are_multiplied():
    products = record_products(CONFIG, random_latents(12, 3, 4, 4))
    matrices = {(b, m, k, n): (torch.randn(b, m, k), torch.randn(b, k, n)) for b, m, k, n in products}
    with FlopCounterMode(display=False) as counter:
        multiply(products, matrices)
    assert counter.get_total_flops() == sum(
        2 * b * m * k * n * count for (b, m, k, n), count in products.items()
    )
