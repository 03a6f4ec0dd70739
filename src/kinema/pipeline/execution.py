"""How a model's transformers run: what computes attention, compiled or not, and on which processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch

from kinema.distributed.video_split import VideoProcesses, VideoSplit
from kinema.errors import UserError
from kinema.models.transformer.attention import AttentionBackend

CompileMode = Literal["off", "blocks", "graphs"]
"""`blocks`: torch.compile of each block. `graphs`: and CUDA graphs, which replay the kernels of a shape."""


def parse_compile_mode(name: str, device: torch.device) -> CompileMode:
    """Check the name of a compile mode.

    Raises:
        UserError: there is no such mode, or the device has no graphs.
    """
    for known in get_args(CompileMode):
        if name == known:
            if known == "graphs" and device.type != "cuda":
                raise UserError(f"CUDA graphs run on an NVIDIA GPU, not on {device}; give blocks")
            return known
    raise UserError(f"compile_mode can't be {name!r}; give one of {', '.join(get_args(CompileMode))}")


@dataclass(frozen=True, kw_only=True, eq=False)
class Execution:
    """How transformers run; it changes a video by rounding alone.

    Attributes:
        attention: what computes attention.
        compile_mode: whether blocks are compiled.
        processes: those that share each video; None for one.
    """

    attention: AttentionBackend = "sdpa"
    compile_mode: CompileMode = "off"
    processes: VideoProcesses | None = None

    def split(self, *, uses_guidance: bool) -> VideoSplit | None:
        """The division of a request with or without guidance; None for one process.

        Raises:
            UserError: guidance is divided, and the request has none.
        """
        return None if self.processes is None else self.processes.split(uses_guidance=uses_guidance)


DEFAULT_EXECUTION = Execution()
"""One process, and torch's attention."""
