"""From a request to a film in the queue, for every verb."""

from __future__ import annotations

import dataclasses
import itertools
import os
import secrets
import shutil
from pathlib import Path

from starlette.datastructures import UploadFile
from starlette.requests import Request

from kinema.serve import jobs
from kinema.serve.bodies import ConnectBody, CreateBody, EditBody, ExtendBody, Extra, FilmId, RemixBody
from kinema.serve.desk import Desk, owner_of
from kinema.serve.errors import ApiError, bad
from kinema.serve.fields import fingerprint, repeat_key
from kinema.serve.folder import FILM, discard, folder_of
from kinema.serve.served import ALIASES, PROPORTIONS, Served, checked_seconds, fitted, measure, written
from kinema.serve.video import Video
from kinema.serve.wanted import Verb, Wanted, WantedShot

REMIX_STRENGTH = 0.75
"""A remix keeps what happens and changes what the new words change: further from its source than an edit."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Source:
    """A film that another is made from."""

    name: str
    width: int
    height: int
    seconds: float
    size: str
    model: str
    video: Video | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Draft:
    """All of an order but who gives it."""

    model: str
    size: str
    seconds: str
    wanted: Wanted
    remixed_from: str | None = None


async def take_film(desk: Desk, request: Request, fields: dict[str, object], body: Extra,
                    source: Video | None = None) -> Video:  # fmt: skip
    """Put a film into the queue, last of all, so that a request that fails leaves nothing.

    Raises:
        ApiError: it can't be made, or the queue is full.
    """
    served = await desk.open_for_work()
    limits = desk.settings.limits
    if body.steps is not None and body.steps > limits.steps:
        raise bad(f"{body.steps} steps are not possible here; give 1 to {limits.steps}.", param="steps")
    identifier = jobs.new_id()
    key = repeat_key(request)
    data = desk.settings.data
    folder = folder_of(data, identifier)
    await desk.ask(folder.mkdir)
    taken = False
    try:
        draft = await _draft(desk, request, served, body, folder, source)
        order = jobs.Order(
            id=identifier,
            owner=owner_of(request),
            model=draft.model,
            size=draft.size,
            seconds=draft.seconds,
            wanted=draft.wanted,
            remixed_from=draft.remixed_from,
            repeat_key=key,
            repeat_body=None if key is None else await fingerprint({"path": request.scope["path"], **fields}),
        )
        video, taken = await desk.intake.take(order)
    except jobs.QueueFull:
        raise ApiError(
            429, "As many films wait as this server takes; try again when some are done.",
            code="queue_full", headers={"retry-after-ms": "2000", "retry-after": "2"},
        ) from None  # fmt: skip
    except jobs.Repeated:
        raise bad("This Idempotency-Key came before with another request; use a new one.",
                  param="Idempotency-Key", code="idempotency_key_reused") from None  # fmt: skip
    finally:
        if not taken:
            await desk.ask(discard, data, identifier)
    if taken:
        desk.metrics.taken[draft.wanted.verb] += 1
    return video


async def _draft(
    desk: Desk, request: Request, served: Served, body: Extra, folder: Path, source: Video | None
) -> _Draft:
    if isinstance(body, CreateBody):
        return await _create(desk, served, body, folder)
    if isinstance(body, ConnectBody):
        return await _connect(desk, request, served, body, folder)
    if isinstance(body, ExtendBody):
        return await _extend(desk, request, served, body, folder)
    if isinstance(body, EditBody):
        return await _edit(desk, request, served, body, folder)
    if isinstance(body, RemixBody) and source is not None:
        return await _remix(desk, served, body, folder, source)
    raise TypeError(f"nothing is made from {type(body).__name__}")


async def _create(desk: Desk, served: Served, body: CreateBody, folder: Path) -> _Draft:
    limits = desk.settings.limits
    told = measure(served, limits, model=body.model, size=body.size, seconds=body.seconds)
    fps = body.fps or served.fps
    if told.length * fps > limits.frames:
        raise bad(f"{written(told.length)} seconds at {fps:g} frames per second are more than the "
                  f"{limits.frames} frames allowed; ask for less.", param="fps")  # fmt: skip
    if not served.pictures and (
        body.input_reference or body.last_frame or any(s.image for s in body.storyboard)
    ):
        raise bad(
            f"{served.name} makes films from words alone; leave the pictures out.", param="input_reference"
        )
    image = last = None
    if body.input_reference is not None:
        image = (await desk.reading.picture(body.input_reference, folder, "first")).name
    if body.last_frame is not None:
        last = (await desk.reading.picture(body.last_frame, folder, "last")).name
    shots = []
    for number, shot in enumerate(body.storyboard):
        shown = None
        if shot.image is not None:
            shown = (await desk.reading.picture(shot.image, folder, f"shot-{number}")).name
        shots.append(
            WantedShot(prompt=shot.prompt, seconds=shot.seconds, image=shown, transition=shot.transition)
        )
    _check_shots(shots, told.length)
    wanted = Wanted(
        prompt=body.prompt,
        width=told.width,
        height=told.height,
        seconds=told.length,
        fps=body.fps,
        image=image,
        last_image=last,
        loop=body.loop,
        storyboard=tuple(shots),
    )
    return _Draft(
        model=told.model, size=told.size, seconds=told.seconds, wanted=_with_extras(wanted, body, None)
    )


def _check_shots(shots: list[WantedShot], length: float) -> None:
    times = [shot.seconds for shot in shots]
    if times and (times[0] != 0 or any(b <= a for a, b in itertools.pairwise(times))):
        raise bad("The first shot of a storyboard begins at 0 seconds, each later one after the last.",
                  param="storyboard")  # fmt: skip
    if times and times[-1] >= length:
        raise bad(f"A shot begins at {written(times[-1])} seconds, but the film ends at {written(length)}.",
                  param="storyboard")  # fmt: skip


async def _remix(desk: Desk, served: Served, body: RemixBody, folder: Path, video: Video) -> _Draft:
    found = await _own(desk, video, folder, "source")
    if "edit" in served.verbs:
        wanted = Wanted(
            verb="edit",
            prompt=body.prompt,
            width=found.width,
            height=found.height,
            source=found.name,
            strength=body.strength or REMIX_STRENGTH,
        )
    else:
        # Without a film to start from, the same noise under other words is the nearest thing to it.
        wanted = dataclasses.replace(video.wanted, prompt=body.prompt)
    return _Draft(model=found.model, size=found.size, seconds=video.seconds,
                  wanted=_with_extras(wanted, body, video), remixed_from=video.id)  # fmt: skip


async def _edit(desk: Desk, request: Request, served: Served, body: EditBody, folder: Path) -> _Draft:
    _able(served, "edit")
    found = await _film(desk, request, served, body.video, folder, "source")
    wanted = Wanted(
        verb="edit",
        prompt=body.prompt,
        width=found.width,
        height=found.height,
        source=found.name,
        strength=body.strength or Wanted.strength,
    )
    return _Draft(
        model=found.model,
        size=found.size,
        seconds=written(found.seconds),
        wanted=_with_extras(wanted, body, found.video),
        remixed_from=None if found.video is None else found.video.id,
    )


async def _extend(desk: Desk, request: Request, served: Served, body: ExtendBody, folder: Path) -> _Draft:
    _able(served, "extend")
    checked_seconds(served, desk.settings.limits, body.seconds)
    found = await _film(desk, request, served, body.video, folder, "source")
    total = checked_seconds(served, desk.settings.limits, found.seconds + body.seconds)
    wanted = Wanted(
        verb="extend",
        prompt=body.prompt,
        width=found.width,
        height=found.height,
        seconds=body.seconds,
        source=found.name,
        backward=body.backward,
    )
    return _Draft(model=found.model, size=found.size, seconds=written(total),
                  wanted=_with_extras(wanted, body, None))  # fmt: skip


async def _connect(desk: Desk, request: Request, served: Served, body: ConnectBody, folder: Path) -> _Draft:
    _able(served, "connect")
    seconds = served.seconds if body.seconds is None else body.seconds
    first = await _film(desk, request, served, body.video, folder, "source")
    last = await _film(desk, request, served, body.next_video, folder, "second")
    total = checked_seconds(served, desk.settings.limits, first.seconds + seconds + last.seconds)
    wanted = Wanted(
        verb="connect",
        prompt=body.prompt,
        width=first.width,
        height=first.height,
        seconds=seconds,
        source=first.name,
        second=last.name,
    )
    return _Draft(model=first.model, size=first.size, seconds=written(total),
                  wanted=_with_extras(wanted, body, None))  # fmt: skip


def _able(served: Served, verb: Verb) -> None:
    if verb not in served.verbs:
        raise bad(f"{served.name} can't {verb} films; it makes them from words and pictures.")


def _with_extras(wanted: Wanted, body: Extra, like: Video | None) -> Wanted:
    """With what every verb takes; a film made from another keeps what that one was made with."""
    before = Wanted(seed=secrets.randbelow(2**31)) if like is None else like.wanted
    return dataclasses.replace(
        wanted,
        seed=before.seed if body.seed is None else body.seed,
        steps=before.steps if body.steps is None else body.steps,
        guidance=before.guidance if body.guidance is None else body.guidance,
        negative=before.negative if body.negative_prompt is None else body.negative_prompt,
    )


async def _film(
    desk: Desk, request: Request, served: Served, given: UploadFile | FilmId, folder: Path, name: str
) -> _Source:
    """The film that was given, as a file in `folder`."""
    if isinstance(given, FilmId):
        return await _own(desk, await desk.film(request, given.id), folder, name)
    read = await desk.reading.film(given, folder, name)
    width, height = fitted(served, read.width / read.height)
    # The client knows four sizes and no other; the film's own stand beside.
    size = PROPORTIONS[1] if read.width > read.height else PROPORTIONS[0]
    return _Source(
        name=read.name,
        width=width,
        height=height,
        seconds=read.frames / read.fps,
        size=size,
        model=ALIASES[0],
    )


async def _own(desk: Desk, video: Video, folder: Path, name: str) -> _Source:
    """A film of this server. It gets a name of its own, so that the other one can be deleted meanwhile."""
    if video.status != "completed":
        raise bad(f"Video {video.id} is {video.status}; only a completed one can be made into another.",
                  code="video_not_ready", param="video")  # fmt: skip
    target = folder / f"{name}.mp4"
    await desk.ask(_link, folder_of(desk.settings.data, video.id) / FILM, target)
    wanted = video.wanted
    return _Source(
        name=target.name,
        width=wanted.width or 0,
        height=wanted.height or 0,
        seconds=float(video.seconds),
        size=video.size,
        model=video.model,
        video=video,
    )


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise bad("The video's file is gone; its time is over.", code="video_expired") from None
    except OSError:  # a file system without links
        shutil.copyfile(source, target)
