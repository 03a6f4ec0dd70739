"""scenedetect's score of the change from frame to frame, and the check that its packages are installed."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import UInt8

from kinema.errors import missing_extra


class ContentMeter:
    """scenedetect's score of each frame against the one before."""

    def __init__(self) -> None:
        from scenedetect import ContentDetector, FrameTimecode, StatsManager

        class Recorder(StatsManager):
            """Keeps the last score only: one for each frame would fill the memory."""

            score = 0.0

            def set_metrics(self, timecode: int | FrameTimecode, metric_kv_dict: dict[str, Any]) -> None:
                del timecode
                self.score = metric_kv_dict[ContentDetector.FRAME_SCORE_KEY]

        self._timecode = FrameTimecode
        self._recorder = Recorder()
        self._detector = ContentDetector()
        self._detector.stats_manager = self._recorder

    def change(self, image: UInt8[np.ndarray, "h w 3"], index: int) -> float:
        """The score of the next frame, RGB; 0 for the first."""
        self._detector.process_frame(self._timecode(index, fps=25.0), np.ascontiguousarray(image[..., ::-1]))
        return self._recorder.score


def require_scenedetect() -> None:
    """Check that the packages of the analysis are installed.

    Raises:
        UserError: one is missing.
    """
    try:
        import cv2
        import imagehash
        import scenedetect
    except ImportError:
        raise missing_extra("curation", "data") from None
    del cv2, imagehash, scenedetect
