"""Scores of validation samples of the whole simulator, for choosing checkpoints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kinema.data.video_shards import open_shards
from kinema.evaluation.whole import WHOLE_MEASURES, SceneMeaning, score_scene
from kinema.evaluation.whole_prompts import meaning_of_plain_caption
from kinema.frames import FrameArray


def whole_scores(videos: Iterable[tuple[SceneMeaning, FrameArray]]) -> dict[str, float]:
    """Score the samples of a checkpoint.

    Args:
        videos: what the prompts state, and the frames.

    Returns:
        `whole_<measure>`: share of the videos that pass, for each measure that any prompt states;
        `whole_accuracy`: share of all verdicts that pass. Empty if nothing could be scored.
    """
    verdicts: dict[str, list[bool]] = {measure: [] for measure in WHOLE_MEASURES if measure != "everything"}
    for meaning, frames in videos:
        for measure, passed in score_scene(meaning, frames).items():
            if measure in verdicts and passed is not None:
                verdicts[measure].append(passed)
    found = {measure: passed for measure, passed in verdicts.items() if passed}
    every = [passed for values in found.values() for passed in values]
    if not every:
        return {}
    shares = {f"whole_{measure.replace(' ', '_')}": sum(one) / len(one) for measure, one in found.items()}
    return {**shares, "whole_accuracy": sum(every) / len(every)}


@dataclass(kw_only=True)
class HeldOutScorer:
    """Scores samples whose prompts are the plain captions of held-out clips.

    Attributes:
        folder: of the shards of the clips, which are read when they are needed first.
    """

    folder: Path
    _meanings: dict[str, SceneMeaning] = field(default_factory=dict)

    def score(self, samples: Sequence[tuple[str, FrameArray]]) -> Mapping[str, float]:
        """Return `whole_scores` of prompts and videos; other prompts are left out."""
        if not self._meanings:
            clips = open_shards(self.folder)
            self._meanings = {
                captions[0]: meaning_of_plain_caption(captions[0], annotations)
                for captions, annotations in zip(clips.texts, clips.annotations, strict=False)
            }
        known = [(self._meanings[text], frames) for text, frames in samples if text in self._meanings]
        return whole_scores(known)
