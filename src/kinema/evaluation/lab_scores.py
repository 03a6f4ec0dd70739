"""Scores of generated videos with lab prompts: for choosing checkpoints and for choosing among samples."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kinema.errors import UserError
from kinema.evaluation.prompt_parser import parse_prompt
from kinema.evaluation.score_video import Measure, score_video
from kinema.frames import FrameArray


@dataclass(frozen=True, kw_only=True)
class PromptScore:
    """How much of its prompt one video shows.

    Attributes:
        accuracy: share of the measures that apply to the prompt and pass, 0 to 1.
        failed: the measures that fail.
    """

    accuracy: float
    failed: tuple[Measure, ...]


def score_prompt(prompt: str, frames: FrameArray, fps: float) -> PromptScore:
    """Score one video by all measures that apply to its prompt.

    Raises:
        UserError: the prompt is not a lab prompt.
    """
    verdicts = score_video(parse_prompt(prompt), frames, fps).verdicts
    failed = tuple(measure for measure, passed in verdicts.items() if passed is False)
    num_applicable = sum(passed is not None for passed in verdicts.values())
    return PromptScore(accuracy=1 - len(failed) / num_applicable, failed=failed)


def lab_scores(videos: Iterable[tuple[str, FrameArray]], fps: float) -> dict[str, float]:
    """Score the samples of a checkpoint.

    Args:
        videos: prompts and frames; videos whose prompts are not lab prompts are left out.
        fps: frames per second of all videos.

    Returns:
        `lab_<claim>`: share of the videos in which that claim holds, for each claim that any prompt makes;
        `lab_accuracy`: share of all claims that hold, which has less variance over a dozen videos than
        `lab_faultless`: share of the videos without any fault. Empty if no video could be scored.
    """
    scores = []
    for prompt, frames in videos:
        try:
            scores.append(score_video(parse_prompt(prompt), frames, fps))
        except UserError:
            continue
    if not scores:
        return {}
    claims: dict[str, list[bool]] = {
        "colour": [s.colour for s in scores],
        "shape": [s.shape for s in scores],
        "binding": [s.binding for s in scores],
        "direction": [s.direction for s in scores if s.direction is not None],
        "left_right": [s.left_right for s in scores if s.left_right is not None],
        "collision": [s.collision.is_correct() for s in scores if s.collision is not None],
        "moving": [not s.frozen for s in scores if s.frozen is not None],
        "permanence": [not s.permanence.births and not s.permanence.deaths for s in scores],
    }
    shares = {f"lab_{name}": sum(values) / len(values) for name, values in claims.items() if values}
    all_claims = [value for values in claims.values() for value in values]
    return shares | {
        "lab_accuracy": sum(all_claims) / len(all_claims),
        "lab_faultless": sum(s.is_correct for s in scores) / len(scores),
    }
