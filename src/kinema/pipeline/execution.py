"""How a model's transformers run: what computes attention, and on which processes."""

from __future__ import annotations

from dataclasses import dataclass

from kinema.distributed.video_split import VideoProcesses, VideoSplit
from kinema.models.transformer.attention import AttentionBackend


@dataclass(frozen=True, kw_only=True, eq=False)
class Execution:
    """How transformers run; it changes a video by rounding alone.

    Attributes:
        attention: what computes attention.
        processes: those that share each video; None for one.
    """

    attention: AttentionBackend = "sdpa"
    processes: VideoProcesses | None = None

    def split(self, *, uses_guidance: bool) -> VideoSplit | None:
        """The division of a request with or without guidance; None for one process.

        Raises:
            UserError: guidance is divided, and the request has none.
        """
        return None if self.processes is None else self.processes.split(uses_guidance=uses_guidance)


DEFAULT_EXECUTION = Execution()
"""One process, and torch's attention."""
