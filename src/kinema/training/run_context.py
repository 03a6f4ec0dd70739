"""The environment of a training run, and the progress that it yields."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from kinema.distributed.process_group import SINGLE_PROCESS, DistContext
from kinema.models.text_encoders.base import TextEncoder
from kinema.training.interruption import StopRequested
from kinema.training.loop import StepReport
from kinema.training.render_shards import RenderDevice
from kinema.training.validation_samples import Scorer

Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Progress of a stage.

    Attributes:
        stage: name of the stage.
        done: items done, of `total`.
        total: number of items.
        report: in training stages.
        sheet: contact sheet that was written at this step.
    """

    stage: str
    done: int
    total: int
    report: StepReport | None = None
    sheet: Path | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class RunContext:
    """Everything a run needs besides its settings.

    Attributes:
        run_dir: the run's folder.
        device: of training.
        load_text_encoder: called where captions have to be encoded.
        should_stop: called after every step; when true the run saves and ends.
        interruptible: a block that is left by `StopRequested` at once when the run should stop; without
            effect in a run of several processes, which stop together after a step.
        scorer: scores the validation samples of the transformer.
        dist_context: the processes that train together.
        render_device: of the simulator's renderer.
    """

    run_dir: Path
    device: torch.device
    load_text_encoder: Callable[[], TextEncoder]
    should_stop: Callable[[], bool] = lambda: False
    interruptible: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext
    scorer: Scorer | None = None
    dist_context: DistContext = SINGLE_PROCESS
    render_device: RenderDevice = "cpu"

    def until_stopped(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield items until the run should stop, and interrupt the computation of the next item then."""
        iterator = iter(items)
        while True:
            try:
                with self.interruptible():
                    item = next(iterator)
            except (StopIteration, StopRequested):
                return
            yield item
            if self.should_stop():
                return

    def stop_requested(self) -> bool:
        """Return whether any process should stop; all processes must call it together."""
        return self.dist_context.any_rank(self.should_stop())
