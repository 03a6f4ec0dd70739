"""The same small film asked of Kinema and of diffusers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from kinema.generate.pipeline import Pipeline, load

from . import wan_fixtures

SIDE, FRAMES, STEPS = 64, 9, 4
PROMPT, NEGATIVE = "a red ball rolls to the left", "blurry"


@dataclass(frozen=True, kw_only=True)
class Case:
    """A variant, with or without the pictures it can take."""

    variant: str
    image: bool = False
    last_image: bool = False

    def __str__(self) -> str:
        return self.variant + ("-image" if self.image else "")

    @property
    def guidance(self) -> tuple[float, ...]:
        return (3.0, 2.0)[: wan_fixtures.SETTINGS[self.variant].experts]


CASES = (
    Case(variant="t2v-2.1"),
    Case(variant="i2v-2.1", image=True),
    Case(variant="flf2v-2.1", image=True, last_image=True),
    Case(variant="t2v-a14b-2.2"),
    Case(variant="i2v-a14b-2.2", image=True),
    Case(variant="ti2v-5b-2.2"),
    Case(variant="ti2v-5b-2.2", image=True),
)


def picture(seed: int, side: int = SIDE) -> np.ndarray:
    """A smooth coloured picture."""
    from PIL import Image

    cells = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(cells).resize((side, side), Image.Resampling.BICUBIC))


def pipeline(folder: Path, *, memory="high", dtype="float32") -> Pipeline:
    return load(folder, device="cpu", dtype=dtype, memory=memory)


def ours(
    pipe: Pipeline, case: Case, *, prompt=PROMPT, negative=NEGATIVE, seed=0, noise=None, pictures=(1, 2)
) -> np.ndarray:
    """Kinema's film."""
    return pipe.generate(
        prompt,
        negative=negative,
        size=(SIDE, SIDE),
        frames=FRAMES,
        steps=STEPS,
        guidance=case.guidance,
        seed=seed,
        noise=noise,
        image=picture(pictures[0]) if case.image else None,
        last_image=picture(pictures[1]) if case.last_image else None,
    ).frames


def theirs(folder: Path, case: Case) -> np.ndarray:
    """diffusers' film."""
    from PIL import Image

    given = {}
    if case.image:
        given["image"] = Image.fromarray(picture(1))
    if case.last_image:
        given["last_image"] = Image.fromarray(picture(2))
    if len(case.guidance) == 2:
        given["guidance_scale_2"] = case.guidance[1]
    peer = wan_fixtures.load_peer(case.variant, folder, image=case.image)
    film = peer(
        prompt=PROMPT,
        negative_prompt=NEGATIVE,
        height=SIDE,
        width=SIDE,
        num_frames=FRAMES,
        num_inference_steps=STEPS,
        guidance_scale=case.guidance[0],
        generator=torch.Generator().manual_seed(0),
        output_type="pil",
        **given,
    ).frames[0]
    return np.stack([np.asarray(frame) for frame in film])


def check_same(mine: np.ndarray, peers: np.ndarray) -> None:
    """The bound of parity: 99.9% of the values equal, none off by more than 2."""
    assert mine.shape == peers.shape
    off = np.abs(mine.astype(int) - peers.astype(int))
    assert (off == 0).mean() >= 0.999
    assert off.max() <= 2
