"""Each verb as takes of the one pipeline: which frames are given, how noisy, and which prompt speaks when.

A later latent frame stands for a whole group of film frames (4 in all models so far). A picture that is to
be seen at one moment therefore pins a group, in which it stands still; only the first frame of such a group
is shown, so the film arrives at the picture, or passes through it, without stopping. That holds for a last
image, for keyframes and for pictures of a storyboard, and moves them to the nearest beginning of a group.

A loop is not pinned to a picture: a bridge leads from the film's end back to its first group, so that not
only what is seen but how it moves agrees where the film begins again. Connecting is that with another film.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from kinema.errors import UserError
from kinema.generate.condition import Base, Condition, Line, Picture
from kinema.generate.picture import fit
from kinema.generate.takes import LET_GO, LET_GO_OF_LOOPS, Take, chained
from kinema.generate.wish import Shot
from kinema.shapes import Stride, VideoShape

Frames = UInt8[np.ndarray, "f h w 3"]


@dataclass(frozen=True, kw_only=True)
class Canvas:
    """What every take of a film has in common.

    Attributes:
        size: width and height.
        fps: frames per second.
        stride: of the autoencoder.
        window: latent frames that the model makes at a time; None where takes can't go on from each other.
        overlap: groups that a take shares with the film it goes on from.
        frames: how many are asked for; None: the model's own choice.
        usual: frames of the model's own films.
        exact: whether a picture holds one film frame alone (models that read pictures beside the noise).
        negative: what guidance steers away from.
    """

    size: tuple[int, int]
    fps: float
    stride: Stride
    window: int | None
    overlap: int
    frames: int | None
    usual: int
    exact: bool
    negative: str

    def shape(self, frames: int) -> VideoShape:
        """A film of so many frames."""
        return VideoShape(frames=frames, height=self.size[1], width=self.size[0])

    def near(self, frames: int | float) -> int:
        """The nearest number of frames that a take can have."""
        return self.shape(max(1, round(frames))).rounded(self.stride).frames

    def enough(self, frames: int) -> int:
        """The smallest number of frames that a take can have which is not less."""
        return self.stride.frames(self.stride.groups(frames + self.stride.temporal - 1))

    def told(self, prompt: str) -> Condition:
        """One prompt throughout, and nothing given."""
        return Condition(lines=(Line(prompt=prompt),), negative=self.negative)


@dataclass(frozen=True, kw_only=True, eq=False)
class Draft:
    """The takes of a film, and the films they join.

    Attributes:
        takes: in the order in which they are made.
        reel: the film that is there before; None: nothing.
        tail: latents of its last groups, if they are known.
        goal: the film that the last take leads up to.
    """

    takes: tuple[Take, ...]
    reel: Frames | None = None
    tail: Float[Tensor, "1 c g h2 w2"] | None = None
    goal: UInt8[np.ndarray, "f2 h w 3"] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Still:
    """A picture at a moment of the film that is seen, in frames from 0; -1 is the last."""

    image: UInt8[np.ndarray, "h w 3"]
    frame: int


def film(canvas: Canvas, prompt: str, stills: Sequence[Still], *, loop: bool) -> Draft:
    """A film from words and pictures at their moments.

    Raises:
        UserError: pictures lie outside the film or too near to each other, or the film is too short to loop.
    """
    closing = _closing(canvas, prompt, pictured=bool(stills)) if loop else None
    frames = canvas.usual if canvas.frames is None else canvas.frames
    if closing is not None and canvas.frames is not None:
        frames = canvas.near(frames - _new(canvas, closing))
        if frames < canvas.stride.frames(canvas.overlap):
            raise UserError(
                f"{canvas.frames} frames are too few for a loop; give "
                f"{_new(canvas, closing) + canvas.stride.frames(canvas.overlap)} or more"
            )
    take = _stretch(canvas, (Line(prompt=prompt),), stills, frames, exactly=False)
    # A film of words alone is not cut into takes here: how long films are made is decided elsewhere.
    takes = (take,) if not stills and closing is None else _chained(canvas, take)
    return Draft(takes=takes if closing is None else (*takes, closing))


def story(canvas: Canvas, shots: Sequence[Shot], images: Sequence[np.ndarray | None], *, loop: bool) -> Draft:
    """A film from shots. A cut begins a take of its own; a shot that blends in speaks on in the take before.

    Args:
        canvas: its `frames` are those of all shots; None: the last shot lasts as long as the model's films.
        shots: by time.
        images: what each begins with, of any size.
        loop: whether the last frame flows into the first.

    Raises:
        UserError: the times contradict each other or the film's length.
    """
    starts = [round(shot.seconds * canvas.fps) for shot in shots]
    end = starts[-1] + canvas.usual if canvas.frames is None else canvas.frames
    _check_times(shots, starts, end, canvas)
    cuts = [number for number, shot in enumerate(shots) if not number or shot.transition == "cut"]
    takes: list[Take] = []
    for first, following in zip(cuts, [*cuts[1:], len(shots)], strict=True):
        begin = starts[first]
        length = (starts[following] if following < len(shots) else end) - begin
        own = range(first, following)
        lines = tuple(Line(prompt=shots[n].prompt, frame=starts[n] - begin) for n in own)
        stills = [
            Still(image=image, frame=starts[n] - begin) for n in own if (image := images[n]) is not None
        ]
        takes += _chained(canvas, _stretch(canvas, lines, stills, length, exactly=True))
    if loop:
        takes.append(_closing(canvas, shots[-1].prompt, pictured=any(image is not None for image in images)))
    return Draft(takes=tuple(takes))


def extension(canvas: Canvas, prompt: str, reel: Frames, tail: Tensor | None, *, backward: bool) -> Draft:
    """A film goes on, or begins earlier, by `canvas.frames` new frames.

    Raises:
        UserError: the film is too short to lead up to.
    """
    stride = canvas.stride
    if not backward:
        carried = min(canvas.overlap, stride.groups(len(reel)))
        takes = [_onward(canvas, prompt, new, carried) for new in _portions(canvas, carried, None)]
        return Draft(takes=tuple(takes), reel=reel, tail=tail)
    reached = min(canvas.overlap, len(reel) // stride.temporal)
    if not reached:
        raise UserError(f"{len(reel)} frames are too few to lead up to; {stride.temporal} are needed")
    room = _window(canvas) - 1 - reached
    frames = stride.frames(room) if canvas.frames is None else canvas.frames
    # Each take begins with a frame of its own, as films do.
    count = -(-frames // stride.frames(room))
    groups = min(count * room, round((frames - count) / stride.temporal))
    takes = []
    for number in range(count):
        free = groups // count + (number < groups % count)
        takes.append(
            Take(
                condition=canvas.told(prompt),
                film=canvas.shape(stride.frames(free + reached)),
                joint="before",
                reached=reached,
                until=LET_GO,
            )
        )
    return Draft(takes=tuple(takes), reel=reel, tail=tail)


def bridge(
    canvas: Canvas, prompt: str, first: Frames, tail: Tensor | None, last: UInt8[np.ndarray, "f2 h w 3"]
) -> Draft:
    """`canvas.frames` new frames lead from the end of one film to the beginning of another.

    Raises:
        UserError: the second film is too short to lead up to.
    """
    stride = canvas.stride
    carried = min(canvas.overlap, stride.groups(len(first)))
    reached = min(canvas.overlap, len(last) // stride.temporal)
    if canvas.overlap and not reached:
        raise UserError(f"{len(last)} frames are too few to lead up to; {stride.temporal} are needed")
    portions = _portions(canvas, carried, reached)
    takes = [_onward(canvas, prompt, new, carried) for new in portions]
    final = takes[-1]
    takes[-1] = dataclasses.replace(
        final,
        film=canvas.shape(stride.frames(carried + portions[-1] + (reached or 1))),
        joint="bridge",
        reached=reached,
    )
    return Draft(takes=tuple(takes), reel=first, tail=tail, goal=last)


def change(
    canvas: Canvas,
    prompt: str,
    reel: Frames,
    *,
    strength: float,
    mask: Float[np.ndarray, "h w"] | None,
    shows: Sequence[int],
) -> Draft:
    """A film is changed: its latents are noised part of the way and carried back under the prompt.

    Args:
        canvas: of the film.
        prompt: what it shows then.
        reel: the film.
        strength: the noise level it is carried to.
        mask: where it may change.
        shows: frames that the model wants to be given besides (0, -1): pictures of the film itself.
    """
    frames = canvas.enough(len(reel))
    whole = np.concatenate([reel, np.repeat(reel[-1:], frames - len(reel), axis=0)])
    condition = dataclasses.replace(
        canvas.told(prompt),
        base=Base(frames=whole, level=strength, mask=mask),
        pictures=tuple(Picture(image=whole[at], frame=at % frames) for at in shows),
    )
    take = Take(
        condition=condition, film=canvas.shape(frames), hidden=tuple(range(len(reel), frames)), joint="cut"
    )
    return Draft(takes=_chained(canvas, take))


def _stretch(
    canvas: Canvas, lines: tuple[Line, ...], stills: Sequence[Still], frames: int, *, exactly: bool
) -> Take:
    """One stretch without a cut, in which pictures behind the first frame take a group each, see the module.

    `exactly`: the film shows just so many frames; else it is as long as the model makes it.
    """
    group, size = canvas.stride.temporal, canvas.size
    later = [still for still in stills if still.frame]
    extra = 0 if canvas.exact else (group - 1) * len(later)
    if exactly:
        made = canvas.enough(frames + extra)
    else:
        made = canvas.near(frames + extra) if canvas.frames is not None else frames
    pictures = [Picture(image=fit(s.image, size), original=s.image) for s in stills if not s.frame]
    hidden: list[int] = []
    taken: list[tuple[int, int]] = []
    for still in sorted(later, key=lambda still: still.frame if still.frame >= 0 else made):
        if canvas.exact:
            at = still.frame % made
        elif still.frame < 0:
            at = made - group
        else:
            at = canvas.near(still.frame + (group - 1) * len(taken) - 1)
            if still.frame >= frames or not 0 < at < made:
                raise UserError(
                    f"a picture at {still.frame / canvas.fps:g} s is outside a film of "
                    f"{frames / canvas.fps:g} s; make the film longer or show it earlier"
                )
        if taken and at <= taken[-1][1]:
            raise UserError(
                f"two pictures near {still.frame / canvas.fps:g} s are too near to each other; leave "
                f"{group / canvas.fps:g} s between them"
            )
        taken.append((still.frame, at))
        pictures.append(Picture(image=fit(still.image, size), frame=at, original=still.image))
        hidden += [] if canvas.exact else range(at + 1, at + group)
    if exactly:
        shown = made - len(hidden)
        rest = [frame for frame in range(made) if frame not in hidden]
        hidden += rest[frames:] if shown > frames else []

    def moved(frame: int) -> int:
        return frame + sum(group - 1 for moment, _ in taken if 0 <= moment < frame and not canvas.exact)

    told = tuple(dataclasses.replace(line, frame=moved(line.frame)) for line in lines)
    return Take(
        condition=Condition(lines=told, negative=canvas.negative, pictures=tuple(pictures)),
        film=canvas.shape(made),
        hidden=tuple(sorted(hidden)),
    )


def _chained(canvas: Canvas, take: Take) -> tuple[Take, ...]:
    if canvas.window is None or not canvas.overlap:
        return (take,)
    return chained(take, canvas.stride, window=canvas.window, overlap=canvas.overlap)


def _window(canvas: Canvas) -> int:
    return 1 + canvas.stride.groups(canvas.usual) if canvas.window is None else canvas.window


def _onward(canvas: Canvas, prompt: str, new: int, carried: int) -> Take:
    return Take(
        condition=canvas.told(prompt),
        film=canvas.shape(canvas.stride.frames(carried + new)),
        joint="after",
        carried=carried,
        until=LET_GO,
    )


def _portions(canvas: Canvas, carried: int, reached: int | None) -> list[int]:
    """New groups of each take that goes on; the last of them may have to lead up to something."""
    room = _window(canvas) - 1 - carried
    last = room if reached is None else room - max(1, reached)
    if last < 1:
        raise UserError(
            f"this model makes {canvas.usual} frames at a time, too few to lead from one film to another"
        )
    stride = canvas.stride
    groups = last if canvas.frames is None else max(1, round(canvas.frames / stride.temporal))
    if groups <= last:
        return [groups]
    count = -(-(groups - last) // room)
    # The last take is filled; those before share the rest evenly.
    rest = groups - last
    return [rest // count + (number < rest % count) for number in range(count)] + [last]


def _closing(canvas: Canvas, prompt: str, *, pictured: bool) -> Take:
    """The take that leads back to the film's beginning, which may be a picture that has to be seen."""
    overlap = canvas.overlap
    free = _window(canvas) - 1 - 2 * overlap
    if free < 1:
        raise UserError(f"this model makes {canvas.usual} frames at a time, too few to close a loop")
    return Take(
        condition=canvas.told(prompt),
        film=canvas.shape(canvas.stride.frames(2 * overlap + free)),
        joint="loop",
        carried=overlap,
        reached=overlap,
        until=0.0 if pictured else LET_GO_OF_LOOPS,
    )


def _new(canvas: Canvas, closing: Take) -> int:
    """Frames by which a closing take makes the film longer."""
    return (canvas.stride.groups(closing.film.frames) - closing.carried - closing.reached) * (
        canvas.stride.temporal
    )


def _check_times(shots: Sequence[Shot], starts: Sequence[int], end: int, canvas: Canvas) -> None:
    if starts[0] != 0:
        raise UserError(f"the first shot begins at {shots[0].seconds:g} s; it begins at 0")
    for number, (before, after) in enumerate(itertools.pairwise(starts), 2):
        if after <= before:
            raise UserError(
                f"shot {number} begins at {shots[number - 1].seconds:g} s, less than a frame after shot "
                f"{number - 1} at {shots[number - 2].seconds:g} s; order shots by time"
            )
    if end <= starts[-1]:
        raise UserError(
            f"the last shot begins at {shots[-1].seconds:g} s and the film ends at {end / canvas.fps:g} s; "
            "make the film longer"
        )
