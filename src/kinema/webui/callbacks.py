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
from kinema.webui import forms
from kinema.webui.client import Client, Video, VideoRequest

ComponentUpdate = Any
"""What gradio takes as news for a component: a value, or `gr.update(...)`."""

AFTER_END, BEFORE_START = "After its end", "Before its beginning"
CANCEL, REMIX, LOOP, EXTEND, INTERPOLATE, DELETE = (
    "Cancel",
    "Remix",
    "Make a loop",
    "Extend",
    "Connect",
    "Delete",
)


@dataclass(frozen=True, kw_only=True)
class ProgressUpdate:
    """News for the panel that shows a film being made. The order of fields is that of its components."""

    notice: ComponentUpdate
    progress: ComponentUpdate
    video: ComponentUpdate
    cancel: ComponentUpdate
    watched_id: ComponentUpdate

    def values(self) -> tuple[ComponentUpdate, ...]:
        """For gradio."""
        return astuple(self)


@dataclass(frozen=True, kw_only=True)
class GalleryUpdate:
    """News for the list of films. The order of fields is that of its components."""

    gallery: ComponentUpdate
    selected: ComponentUpdate
    second: ComponentUpdate
    video_ids: ComponentUpdate

    def values(self) -> tuple[ComponentUpdate, ...]:
        """For gradio."""
        return astuple(self)


@dataclass(frozen=True, kw_only=True)
class Callbacks:
    """What the page does when a person does something; plain functions around the client.

    Attributes:
        client: of the server.
        model_info: what its model can make.
        folder: for films and thumbnails that the browser is given.
    """

    client: Client
    model_info: ModelInfo
    folder: Path

    def follow(self, submit: Callable[[], Video]) -> Iterator[tuple[ComponentUpdate, ...]]:
        """Begin a film and follow it to its end."""
        try:
            begun = submit()
            for video in self.client.follow(begun.id):
                yield self._progress_update(video).values()
        except UserError as error:
            yield _idle_update(str(error)).values()

    def submit_text(self, prompt: str, *form: Any) -> Iterator[tuple[ComponentUpdate, ...]]:
        """The button of the tab Words."""
        yield from self.follow(lambda: self.client.create(self._build_request(prompt, form)))

    def submit_storyboard(self, *values: Any) -> Iterator[tuple[ComponentUpdate, ...]]:
        """The button of the tab Storyboard: rows of words, beginning and transition, then the form."""
        rows, form = _storyboard_rows(values[: 3 * forms.MAX_SHOTS]), values[3 * forms.MAX_SHOTS :]

        def submit() -> Video:
            shots = forms.parse_shots(rows)
            told = " Then: ".join(shot.prompt for shot in shots)
            return self.client.create(forms.build_request(_parse_form(form), told, self.model_info, shots))

        yield from self.follow(submit)

    def resume_running(self) -> Iterator[tuple[ComponentUpdate, ...]]:
        """When the page opens: follow the film that is being made, if there is one."""
        try:
            open_films = [video for video in self.client.list_videos() if not video.ended]
        except UserError as error:
            yield _idle_update(str(error)).values()
            return
        if open_films:
            yield from self.follow(lambda: open_films[-1])
        else:
            # Gradio empties the panel of a function that says nothing.
            yield _idle_update("").values()

    def cancel(self, watched_id: str) -> str:
        """End the film that is being made; what becomes of it is told by those who follow it."""
        try:
            if watched_id:
                self.client.cancel(watched_id)
        except UserError as error:
            return forms.alert_html(str(error))
        return ""

    def estimate_cost(self, prompt: str, *form: Any) -> str:
        """Time and memory, before they are spent."""
        try:
            return forms.cost_text(self.client.estimate_cost(self._build_request(prompt or "A film.", form)))
        except UserError as error:
            return f"No plan: {error}"

    def remix(self, selected: str | None, prompt: str) -> Iterator[tuple[ComponentUpdate, ...]]:
        """The chosen film with other words."""
        yield from self.follow(
            lambda: self.client.remix(_require_selected(selected), _require_prompt(prompt))
        )

    def extend(
        self, selected: str | None, prompt: str, seconds: float, position: str
    ) -> Iterator[tuple[ComponentUpdate, ...]]:
        """The chosen film, longer."""

        def submit() -> Video:
            film = _require_selected(selected)
            said = prompt.strip() or self.client.retrieve(film).prompt
            return self.client.extend(film, said, seconds, backward=position == BEFORE_START)

        yield from self.follow(submit)

    def loop(self, selected: str | None) -> Iterator[tuple[ComponentUpdate, ...]]:
        """The chosen film made once more so that its end leads into its beginning."""

        def submit() -> Video:
            old = self.client.retrieve(_require_selected(selected))
            order = VideoRequest(
                prompt=old.prompt, size=old.size, seconds=float(old.seconds), seed=old.seed, loop=True
            )
            return self.client.create(order)

        yield from self.follow(submit)

    def interpolate(
        self, selected: str | None, second: str | None, prompt: str
    ) -> Iterator[tuple[ComponentUpdate, ...]]:
        """A bridge from the chosen film to another."""

        def submit() -> Video:
            first = _require_selected(selected)
            if not second:
                raise UserError("Choose the film to lead to.")
            return self.client.interpolate(
                first, second, prompt.strip() or self.client.retrieve(second).prompt
            )

        yield from self.follow(submit)

    def delete(self, selected: str | None) -> str:
        """Remove the chosen film from the server."""
        try:
            self.client.delete(_require_selected(selected))
        except UserError as error:
            return forms.alert_html(str(error))
        return ""

    def list_videos(self, selected: str | None) -> tuple[ComponentUpdate, ...]:
        """The list of films anew."""
        try:
            videos = self.client.list_videos()
        except UserError:
            videos = []
        done = [video for video in videos if video.status == "completed"]
        choices = [(forms.video_label(video), video.id) for video in done]
        known = [video.id for video in done]
        kept = selected if selected in known else (known[0] if known else None)
        pictures = [(str(self._cached_thumbnail(video.id)), forms.video_label(video)) for video in done]
        return GalleryUpdate(
            gallery=pictures,
            selected=gr.update(choices=choices, value=kept),
            second=gr.update(choices=choices, value=None),
            video_ids=known,
        ).values()

    def show_selected(self, selected: str | None) -> tuple[ComponentUpdate, ...]:
        """The chosen film: player, download, and what can be done with it."""
        able = bool(selected)
        try:
            path = None if not selected else str(self._cached_video(selected))
        except UserError:
            path, able = None, False
        verbs = self.model_info.tasks
        return (
            path,
            gr.update(value=path, interactive=path is not None),
            _button_update(REMIX, able),
            _button_update(EXTEND, able and "extend" in verbs),
            _button_update(LOOP, able),
            _button_update(INTERPOLATE, able and "connect" in verbs),
            _button_update(DELETE, able),
        )

    def _build_request(self, prompt: str, form: Sequence[Any]) -> VideoRequest:
        return forms.build_request(_parse_form(form), prompt, self.model_info)

    def _progress_update(self, video: Video) -> ProgressUpdate:
        film: ComponentUpdate = gr.skip()
        if video.status == "completed":
            film = str(self._cached_video(video.id))
        elif not video.ended:
            film = None
        failed = video.status == "failed" and not video.cancelled
        return ProgressUpdate(
            notice=forms.alert_html(forms.status_text(video)) if failed else "",
            progress=forms.progress_html(video),
            video=film,
            cancel=_button_update(CANCEL, not video.ended),
            watched_id="" if video.ended else video.id,
        )

    def _cached_video(self, video_id: str) -> Path:
        path = self.folder / f"{video_id}.mp4"
        return path if path.exists() else self.client.download(video_id, path)

    def _cached_thumbnail(self, video_id: str) -> Path:
        path = self.folder / f"{video_id}.webp"
        if not path.exists():
            write_bytes(path, self.client.content(video_id, "thumbnail"))
        return path


def _idle_update(message: str) -> ProgressUpdate:
    """No film is being made; what is wrong, if anything."""
    return ProgressUpdate(
        notice=forms.alert_html(message),
        progress=forms.progress_html(None),
        video=gr.skip(),
        cancel=_button_update(CANCEL, False),
        watched_id="",
    )


def _parse_form(values: Sequence[Any]) -> forms.Form:
    """The values of the form's components, in the order in which the page has them."""
    shape, seconds, seed, steps, guidance, negative, first, last, loop = values
    return forms.Form(
        aspect_ratio=shape, seconds=seconds, seed=seed, num_inference_steps=steps, guidance_scale=guidance,
        negative_prompt=negative, image=first, last_image=last, loop=loop,
    )  # fmt: skip


def _button_update(label: str, enabled: bool) -> ComponentUpdate:
    """News for a button. Its words are said again: without them it loses those that it had."""
    return gr.update(value=label, interactive=enabled)


def _require_selected(selected: str | None) -> str:
    if not selected:
        raise UserError("Choose a film first.")
    return selected


def _require_prompt(prompt: str) -> str:
    if not prompt.strip():
        raise UserError("Write what shall be different.")
    return prompt.strip()


def _storyboard_rows(values: Sequence[Any]) -> list[tuple[Any, Any, Any]]:
    return [(values[at], values[at + 1], values[at + 2]) for at in range(0, len(values), 3)]
