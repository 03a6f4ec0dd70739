"""Which caption a training step uses: prefix, trigger word, a draw among several captions, dropout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kinema.data import rng
from kinema.errors import UserError

TRIGGER_PLACES = ("[trigger]", "[name]")
"""What a trigger word replaces in a caption."""


@dataclass(frozen=True, kw_only=True)
class CaptionConfig:
    """How captions are changed and drawn.

    Attributes:
        prefix: put in front of each caption.
        trigger: replaces `[trigger]` and `[name]`; is put in front of captions that then lack it.
        dropout: share of samples that are trained on the empty prompt, for classifier-free guidance.

    Raises:
        UserError: the share is not within 0 to 1.
    """

    prefix: str = ""
    trigger: str = ""
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.dropout <= 1:
            raise UserError(f"caption dropout is a share of 0 to 1, not {self.dropout:g}")

    def texts(self, captions: Sequence[str]) -> tuple[str, ...]:
        """The texts that captions become: what has to be encoded."""
        return tuple(dict.fromkeys(self._change(caption) for caption in captions))

    def draw(self, captions: Sequence[str], seed: int, step: int, position: int) -> str:
        """The text of one sample: one of `texts`, or the empty prompt.

        A function of its arguments, so that a resumed run draws what an uninterrupted one would.

        Args:
            captions: of the clip.
            seed: of the run.
            step: of training.
            position: of the sample in the batch.
        """
        texts = self.texts(captions)
        if not texts or rng.uniform(seed, "set caption dropout", step, position) < self.dropout:
            return ""
        return texts[int(rng.uniform(seed, "set caption", step, position) * len(texts))]

    def _change(self, caption: str) -> str:
        text = caption
        if self.trigger:
            for place in TRIGGER_PLACES:
                text = text.replace(place, self.trigger)
            if self.trigger not in text:
                text = f"{self.trigger} {text}".strip()
        return self.prefix + text
