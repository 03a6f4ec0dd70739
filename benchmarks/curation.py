"""Rate of the analysis of `kinema data build` by stage, and its peak memory for a long and a short video.

Times are core-seconds. The videos are 480p: a real one that is given, repeated, or a rendered pan.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import BenchRow, run_subprocess

SIZE = (854, 480)
MAX_HOUR_SECONDS = 2400.0
"""Core-seconds for an hour of video: twenty minutes on two cores."""
MAX_GROWTH_MIB = 60.0
"""MiB that the long video may take beyond the short one."""

_WRITE_SCRIPT = """
import sys
import numpy as np
from kinema.media import frames, open_writer
source, target, count, width, height = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
def images():
    while True:
        if source:
            yield from (frame.image for frame in frames(source, size=(width, height)))
            continue
        texture = np.random.default_rng(0).integers(0, 256, (height // 4, 512, 3), np.uint8)
        texture = texture.repeat(4, axis=0).repeat(4, axis=1)
        yield from (np.roll(texture, -2 * f, axis=1)[:height, :width] for f in range(512))
with open_writer(target, fps=30, size=(width, height)) as writer:
    for _, image in zip(range(count), images()):
        writer.write(image)
"""

_ANALYSE_SCRIPT = """
import json, sys
from pathlib import Path
from kinema.data.analysis import AnalysisJob, run_analysis
from kinema.data.media_item import MediaItem
result = run_analysis(AnalysisJob(item=MediaItem(path=sys.argv[1]), target=Path(sys.argv[2])))
print(json.dumps([result.num_frames, result.stage_seconds]))
"""


@dataclass(frozen=True, kw_only=True)
class CurationRate:
    """What the analysis of two videos took.

    Attributes:
        num_frames: of the long video.
        cpu_seconds: of the process for the long video.
        stage_seconds: core-seconds of each stage.
        short_mib: peak memory for the short video.
        long_mib: peak memory for the long video.
    """

    num_frames: int
    cpu_seconds: float
    stage_seconds: dict[str, float]
    short_mib: float
    long_mib: float

    def rows(self) -> list[BenchRow]:
        """Lines of a table."""
        hour = 3600 * 30 / self.num_frames
        stages = [
            BenchRow(
                label=f"stage {name}",
                ours=1000 * seconds / self.num_frames,
                unit="ms",
                note=f"{self.num_frames / max(seconds, 1e-9):.0f} frames per core-second",
            )
            for name, seconds in sorted(self.stage_seconds.items(), key=lambda item: -item[1])
        ]
        return [
            BenchRow(
                label="an hour of 480p at 30 fps",
                ours=self.cpu_seconds * hour,
                at_most=MAX_HOUR_SECONDS,
                note=f"core-seconds, from {self.num_frames} frames in {self.cpu_seconds:.1f} s",
            ),
            *stages,
            BenchRow(
                label="peak memory, growth",
                ours=self.long_mib - self.short_mib,
                at_most=MAX_GROWTH_MIB,
                unit="MiB",
                note=f"{self.short_mib:.0f} MiB for a quarter, {self.long_mib:.0f} MiB for all",
            ),
        ]


def measure_curation(*, seconds: float, source: str) -> CurationRate:
    """Analyse a video of some seconds, and one of a quarter of it, in separate processes.

    Args:
        seconds: length of the long video.
        source: a video that is scaled and repeated; empty renders a pan.

    Raises:
        RuntimeError: a process failed.
    """
    usages = []
    with tempfile.TemporaryDirectory() as folder:
        for share in (0.25, 1.0):
            path = Path(folder) / f"{share:g}.mp4"
            run_subprocess(
                _WRITE_SCRIPT, source, str(path), str(round(seconds * 30 * share)), *map(str, SIZE)
            )
            usages.append(run_subprocess(_ANALYSE_SCRIPT, str(path), str(path.with_suffix(".safetensors"))))
    short, long = usages
    num_frames, stages = json.loads(long.stdout)
    return CurationRate(
        num_frames=num_frames,
        cpu_seconds=long.cpu_seconds,
        stage_seconds=stages,
        short_mib=short.peak_mib,
        long_mib=long.peak_mib,
    )
