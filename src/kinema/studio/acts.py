"""What the page does when a person does something: calls of the client, and news for the components."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from kinema.atomic_io import write_bytes
from kinema.errors import UserError
from kinema.server.model_info import ModelInfo
from kinema.studio import words
from kinema.studio.client import Client, Order, Video

Update = Any
"""What gradio takes as news for a component: a value, or `gr.update(...)`."""

AFTER, BEFORE = "After its end", "Before its beginning"
CANCEL, REMIX, LOOP, EXTEND, CONNECT, DELETE = "Cancel", "Remix", "Make a loop", "Extend", "Connect", "Delete"


@dataclass(frozen=True, kw_only=True)
class Making:
    """News for the panel that shows a film being made. The order of fields is that of its components."""

    notice: Update
    progress: Update
    film: Update
    cancel: Update
    watched: Update

    def values(self) -> tuple[Update, ...]:
        """For gradio."""
        return astuple(self)


@dataclass(frozen=True, kw_only=True)
class Listed:
    """News for the list of films. The order of fields is that of its components."""

    gallery: Update
    chosen: Update
    other: Update
    order: Update

    def values(self) -> tuple[Update, ...]:
        """For gradio."""
        return astuple(self)


@dataclass(frozen=True, kw_only=True)
class Acts:
    """What the page does when a person does something; plain functions around the client.

    Attributes:
        client: of the server.
        served: what its model can make.
        folder: for films and thumbnails that the browser is given.
    """

    client: Client
    served: ModelInfo
    folder: Path

    def watch(self, begin: Callable[[], Video]) -> Iterator[tuple[Update, ...]]:
        """Begin a film and follow it to its end."""
        try:
            begun = begin()
            for video in self.client.follow(begun.id):
                yield self._news(video).values()
        except UserError as error:
            yield _nothing(str(error)).values()

    def make(self, prompt: str, *form: Any) -> Iterator[tuple[Update, ...]]:
        """The button of the tab Words."""
        yield from self.watch(lambda: self.client.create(self._order(prompt, form)))

    def tell(self, *values: Any) -> Iterator[tuple[Update, ...]]:
        """The button of the tab Storyboard: rows of words, beginning and transition, then the form."""
        rows, form = _rows(values[: 3 * words.MOST_SHOTS]), values[3 * words.MOST_SHOTS :]

        def begin() -> Video:
            shots = words.shots_of(rows)
            told = " Then: ".join(shot.prompt for shot in shots)
            return self.client.create(words.order_of(_form(form), told, self.served, shots))

        yield from self.watch(begin)

    def resume(self) -> Iterator[tuple[Update, ...]]:
        """When the page opens: follow the film that is being made, if there is one."""
        try:
            open_films = [video for video in self.client.videos() if not video.ended]
        except UserError as error:
            yield _nothing(str(error)).values()
            return
        if open_films:
            yield from self.watch(lambda: open_films[-1])
        else:
            # Gradio empties the panel of a function that says nothing.
            yield _nothing("").values()

    def cancel(self, watched: str) -> str:
        """End the film that is being made; what becomes of it is told by those who follow it."""
        try:
            if watched:
                self.client.cancel(watched)
        except UserError as error:
            return words.alert(str(error))
        return ""

    def plan(self, prompt: str, *form: Any) -> str:
        """Time and memory, before they are spent."""
        try:
            return words.cost(self.client.plan(self._order(prompt or "A film.", form)))
        except UserError as error:
            return f"No plan: {error}"

    def remix(self, chosen: str | None, prompt: str) -> Iterator[tuple[Update, ...]]:
        """The chosen film with other words."""
        yield from self.watch(lambda: self.client.remix(_film(chosen), _said(prompt)))

    def extend(
        self, chosen: str | None, prompt: str, seconds: float, where: str
    ) -> Iterator[tuple[Update, ...]]:
        """The chosen film, longer."""

        def begin() -> Video:
            film = _film(chosen)
            said = prompt.strip() or self.client.retrieve(film).prompt
            return self.client.extend(film, said, seconds, backward=where == BEFORE)

        yield from self.watch(begin)

    def loop(self, chosen: str | None) -> Iterator[tuple[Update, ...]]:
        """The chosen film made once more so that its end leads into its beginning."""

        def begin() -> Video:
            old = self.client.retrieve(_film(chosen))
            order = Order(
                prompt=old.prompt, size=old.size, seconds=float(old.seconds), seed=old.seed, loop=True
            )
            return self.client.create(order)

        yield from self.watch(begin)

    def connect(self, chosen: str | None, other: str | None, prompt: str) -> Iterator[tuple[Update, ...]]:
        """A bridge from the chosen film to another."""

        def begin() -> Video:
            first = _film(chosen)
            if not other:
                raise UserError("Choose the film to lead to.")
            return self.client.connect(first, other, prompt.strip() or self.client.retrieve(other).prompt)

        yield from self.watch(begin)

    def delete(self, chosen: str | None) -> str:
        """Remove the chosen film from the server."""
        try:
            self.client.delete(_film(chosen))
        except UserError as error:
            return words.alert(str(error))
        return ""

    def films(self, chosen: str | None) -> tuple[Update, ...]:
        """The list of films anew."""
        try:
            videos = self.client.videos()
        except UserError:
            videos = []
        done = [video for video in videos if video.status == "completed"]
        choices = [(words.label(video), video.id) for video in done]
        known = [video.id for video in done]
        kept = chosen if chosen in known else (known[0] if known else None)
        pictures = [(str(self._thumbnail(video.id)), words.label(video)) for video in done]
        return Listed(
            gallery=pictures,
            chosen=gr.update(choices=choices, value=kept),
            other=gr.update(choices=choices, value=None),
            order=known,
        ).values()

    def show(self, chosen: str | None) -> tuple[Update, ...]:
        """The chosen film: player, download, and what can be done with it."""
        able = bool(chosen)
        try:
            path = None if not chosen else str(self._film(chosen))
        except UserError:
            path, able = None, False
        verbs = self.served.tasks
        return (
            path,
            gr.update(value=path, interactive=path is not None),
            _button(REMIX, able),
            _button(EXTEND, able and "extend" in verbs),
            _button(LOOP, able),
            _button(CONNECT, able and "connect" in verbs),
            _button(DELETE, able),
        )

    def _order(self, prompt: str, form: Sequence[Any]) -> Order:
        return words.order_of(_form(form), prompt, self.served)

    def _news(self, video: Video) -> Making:
        film: Update = gr.skip()
        if video.status == "completed":
            film = str(self._film(video.id))
        elif not video.ended:
            film = None
        failed = video.status == "failed" and not video.cancelled
        return Making(
            notice=words.alert(words.state(video)) if failed else "",
            progress=words.progress(video),
            film=film,
            cancel=_button(CANCEL, not video.ended),
            watched="" if video.ended else video.id,
        )

    def _film(self, video: str) -> Path:
        path = self.folder / f"{video}.mp4"
        return path if path.exists() else self.client.download(video, path)

    def _thumbnail(self, video: str) -> Path:
        path = self.folder / f"{video}.webp"
        if not path.exists():
            write_bytes(path, self.client.content(video, "thumbnail"))
        return path


def _nothing(why: str) -> Making:
    """No film is being made; what is wrong, if anything."""
    return Making(
        notice=words.alert(why),
        progress=words.progress(None),
        film=gr.skip(),
        cancel=_button(CANCEL, False),
        watched="",
    )


def _form(values: Sequence[Any]) -> words.Form:
    """The values of the form's components, in the order in which the page has them."""
    shape, seconds, seed, steps, guidance, negative, first, last, loop = values
    return words.Form(
        shape=shape, seconds=seconds, seed=seed, steps=steps, guidance=guidance,
        negative=negative, first=first, last=last, loop=loop,
    )  # fmt: skip


def _button(words: str, able: bool) -> Update:
    """News for a button. Its words are said again: without them it loses those that it had."""
    return gr.update(value=words, interactive=able)


def _film(chosen: str | None) -> str:
    if not chosen:
        raise UserError("Choose a film first.")
    return chosen


def _said(prompt: str) -> str:
    if not prompt.strip():
        raise UserError("Write what shall be different.")
    return prompt.strip()


def _rows(values: Sequence[Any]) -> list[tuple[Any, Any, Any]]:
    return [(values[at], values[at + 1], values[at + 2]) for at in range(0, len(values), 3)]
