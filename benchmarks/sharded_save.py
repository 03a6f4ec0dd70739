"""What an asynchronous sharded checkpoint costs the steps of a training in two processes.

`measure_save_cost` starts `torchrun -m benchmarks.sharded_save`, which trains in alternating rounds with
and without checkpoints.
"""

from __future__ import annotations

import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.harness import BenchRow
from kinema.data.latent_cache import LatentDataset
from kinema.distributed.process_group import DistContext, init_distributed
from kinema.errors import UserError
from kinema.models.transformer.dit_config import small
from kinema.training.dit_task import DitTask, DitTrainConfig
from kinema.training.loop import LoopConfig, train
from kinema.training.optimizer import OptimizerConfig

NUM_PROCESSES, ROUNDS, STEPS, SAVE_EVERY = 2, 3, 80, 20
MAX_RATIO = 1.05


def measure_save_cost() -> list[BenchRow]:
    """The time of a step with a checkpoint every `SAVE_EVERY` steps over that without.

    Raises:
        UserError: the processes failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(NUM_PROCESSES)]
        command += ["--standalone", "-m", "benchmarks.sharded_save", folder]
        if subprocess.run(command, check=False).returncode:
            raise UserError("the processes of the benchmark failed; their output is above")
        values = json.loads(Path(folder, "times.json").read_text())
    ratios = [with_saves / without for without, with_saves in values["rounds"]]
    return [
        BenchRow(
            label=f"step with a checkpoint every {SAVE_EVERY} steps, over without",
            ours=statistics.median(saves for _, saves in values["rounds"]),
            theirs=statistics.median(plain for plain, _ in values["rounds"]),
            ratio=statistics.median(ratios),
            at_most=MAX_RATIO,
            note=f"{values['parameters'] / 1e6:.1f} M parameters; ratios "
            + ", ".join(f"{ratio:.3f}" for ratio in ratios),
        )
    ]


def _mean_step_s(run_dir: Path, context: DistContext, *, save_every: int) -> tuple[float, int]:
    """Seconds of a step, and the number of parameters."""
    latents = torch.randn(16, 4, 5, 8, 8, generator=torch.Generator().manual_seed(0))
    texts = (torch.eye(384)[:3], torch.eye(384)[3:5], torch.eye(384)[9:10])
    data = LatentDataset(latents=latents, captions=((0, 1), (1,)) * 8, text_embeddings=texts)
    loop = LoopConfig(steps=10**6, validate_every=10**6, save_every=save_every, optimizer=OptimizerConfig())
    config = DitTrainConfig(
        batch_size=8,
        precision="float32",
        model=small(width=128, layers=4, channels=4, grid=(4, 4)),
        loop=loop,
    )
    task = DitTask(config, [data], [data.subset(0, 4)], torch.device("cpu"))
    count = sum(parameter.numel() for parameter in task.module.parameters())
    start = 0.0
    for report in itertools.islice(train(task, loop, run_dir, settings={}, dist_context=context), STEPS + 1):
        if report.step == 1:  # The first step allocates.
            start = time.perf_counter()
    seconds = (time.perf_counter() - start) / STEPS
    context.barrier()
    if context.is_main and bool(list(run_dir.glob("step-*"))) != (save_every <= STEPS):
        raise RuntimeError(f"checkpoints were expected every {save_every} of {STEPS} steps")
    return seconds, count


def main() -> None:
    """Train in alternating rounds, and write the times into the folder that is given."""
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    rounds, parameters = [], 0
    with init_distributed("cpu") as context:
        for number in range(ROUNDS):
            pair = []
            for name, save_every in (("plain", 10**6), ("saves", SAVE_EVERY)):
                run_dir = folder / f"{name}-{number}"
                seconds, parameters = _mean_step_s(run_dir, context, save_every=save_every)
                pair.append(seconds)
            rounds.append(pair)
        if context.is_main:
            values = {"rounds": rounds, "parameters": parameters}
            (folder / "times.json").write_text(json.dumps(values))


if __name__ == "__main__":
    main()
