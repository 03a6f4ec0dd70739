"""Checks one video file against its prompt, in a process of its own: `python -m kinema.evaluation.check`.

    python -m kinema.evaluation.check VIDEO PROMPT

Standard output is `VideoCheck` as JSON. A prompt that can't be scored is a result, not an error.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from kinema.errors import UserError
from kinema.evaluation.prompt_parser import parse_prompt
from kinema.evaluation.score_video import score_video
from kinema.evaluation.video_sources import load_video
from kinema.pipeline.reproduce import read_metadata


@dataclass(frozen=True, kw_only=True)
class VideoCheck:
    """What the evaluator says about a video.

    Attributes:
        scored: whether it can score the prompt.
        reason: why it can't; empty if it can.
        prompt: that was scored: the video's own, or by its metadata the one that it was rewritten to.
        objects: the objects that it looked for, for example `1 red ball`.
        verdicts: pass or fail by each measure that applies to the prompt.
        is_correct: whether the objects are there and do what the prompt says; None if not scored.
    """

    scored: bool
    reason: str = ""
    prompt: str = ""
    objects: tuple[str, ...] = ()
    verdicts: dict[str, bool] = dataclasses.field(default_factory=dict)
    is_correct: bool | None = None


def check_video(path: Path, prompt: str) -> VideoCheck:
    """Check a video of the lab against its prompt, or against what the prompt was rewritten to.

    Raises:
        UserError: the file can't be read as a video.
    """
    prompt = _rewritten_prompts(path).get(prompt, prompt)
    try:
        spec = parse_prompt(prompt)
    except UserError as error:
        return VideoCheck(scored=False, reason=str(error), prompt=prompt)
    frames, fps = load_video(path)
    scores = score_video(spec, frames, fps)
    return VideoCheck(
        scored=True,
        prompt=prompt,
        objects=tuple(f"{one.count} {one.colour} {one.shape}" for one in spec.objects),
        verdicts={name: passed for name, passed in scores.verdicts.items() if passed is not None},
        is_correct=scores.is_correct,
    )


def _rewritten_prompts(path: Path) -> dict[str, str]:
    """What the prompts of a video were rewritten to, by its metadata; empty for a file without any."""
    try:
        return dict(read_metadata(path).rewritten_prompts)
    except UserError:
        return {}


def main() -> None:
    """Check. Exits with 2 and one line where the file is not a video."""
    path, prompt = sys.argv[1:]
    try:
        result = check_video(Path(path), prompt)
    except UserError as error:
        print(str(error), file=sys.stderr)
        sys.exit(2)
    print(json.dumps(dataclasses.asdict(result)))


if __name__ == "__main__":
    main()
