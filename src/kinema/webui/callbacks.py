"""Callbacks of the page: calls of the HTTP client, and updates of the components."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from kinema.atomic_io import write_bytes
from kinema.errors import UserError
from kinema.pipeline.request import VideoRequest
from kinema.server.model_info import ModelInfo
from kinema.shapes import parse_size
from kinema.webui import forms
from kinema.webui.client import Client, Video

ComponentUpdate = Any
"""An update of a gradio component: a value, or `gr.update(...)`."""

AFTER_END, BEFORE_START = "After its end", "Before its start"
CANCEL, DELETE = "Cancel", "Delete"
REMIX, LOOP, EXTEND, INTERPOLATE = "Remix", "Loop", "Extend", "Interpolate"


@dataclass(frozen=True, kw_only=True)
class ProgressUpdate:
    """Update of the progress panel. The fields are in the order of its components."""

    notice: ComponentUpdate
    progress: ComponentUpdate
    video: ComponentUpdate
    cancel: ComponentUpdate
    watched_id: ComponentUpdate

    def values(self) -> tuple[ComponentUpdate, ...]:
        """The updates as gradio takes them."""
        return astuple(self)


@dataclass(frozen=True, kw_only=True)
class GalleryUpdate:
    """Update of the gallery. The fields are in the order of its components."""

    gallery: ComponentUpdate
    selected: ComponentUpdate
    second: ComponentUpdate
    video_ids: ComponentUpdate

    def values(self) -> tuple[ComponentUpdate, ...]:
        """The updates as gradio takes them."""
        return astuple(self)


@dataclass(frozen=True, kw_only=True)
class Callbacks:
    """Callbacks of the page's buttons.

    Attributes:
        client: client of the server.
        model_info: what the model can generate.
        folder: for videos and thumbnails that the browser loads.
    """

    client: Client
    model_info: ModelInfo
    folder: Path

    def follow(self, submit: Callable[[], Video]) -> Iterator[tuple[ComponentUpdate, ...]]:
        """Submit a request and yield updates until the video is finished."""
        try:
            submitted = submit()
            for video in self.client.follow(submitted.id):
                yield self._progress_update(video).values()
        except UserError as error:
            yield _idle_update(str(error)).values()

    def submit_text(self, prompt: str, *form: Any) -> Iterator[tuple[ComponentUpdate, ...]]:
        """Generate a video from a prompt."""
        yield from self.follow(lambda: self.client.create(self._build_request(prompt, form)))

    def submit_storyboard(self, *values: Any) -> Iterator[tuple[ComponentUpdate, ...]]:
        """Generate a video from a storyboard: rows of prompt, start and transition, then the form."""
        rows, form = _storyboard_rows(values[: 3 * forms.MAX_SHOTS]), values[3 * forms.MAX_SHOTS :]

        def submit() -> Video:
            shots = forms.parse_shots(rows)
            return self.client.create(forms.build_request(_parse_form(form), "", self.model_info, shots))

        yield from self.follow(submit)

    def resume_running(self) -> Iterator[tuple[ComponentUpdate, ...]]:
        """Follow the oldest video in progress when the page opens."""
        try:
            running = [video for video in self.client.list_videos() if not video.ended]
        except UserError as error:
            yield _idle_update(str(error)).values()
            return
        if running:
            yield from self.follow(lambda: running[-1])
        else:
            # Gradio clears the outputs of a generator that yields nothing.
            yield _idle_update("").values()

    def cancel(self, watched_id: str) -> str:
        """Cancel the video in progress; `follow` updates the panel."""
        try:
            if watched_id:
                self.client.cancel(watched_id)
        except UserError as error:
            return forms.alert_html(str(error))
        return ""

    def estimate(self, prompt: str, *form: Any) -> str:
        """Estimate time and memory of the form's request."""
        try:
            # The cost does not depend on the prompt.
            return forms.cost_text(self.client.estimate(self._build_request(prompt or "A video.", form)))
        except UserError as error:
            return f"No estimate: {error}"

    def remix(self, selected: str | None, prompt: str) -> Iterator[tuple[ComponentUpdate, ...]]:
        """Generate the selected video again with another prompt."""
        yield from self.follow(
            lambda: self.client.remix(_require_selected(selected), _require_prompt(prompt))
        )

    def extend(
        self, selected: str | None, prompt: str, seconds: float, position: str
    ) -> Iterator[tuple[ComponentUpdate, ...]]:
        """Extend the selected video; an empty prompt keeps its own."""

        def submit() -> Video:
            video_id = _require_selected(selected)
            text = prompt.strip() or self.client.retrieve(video_id).prompt
            return self.client.extend(video_id, text, seconds, backward=position == BEFORE_START)

        yield from self.follow(submit)

    def loop(self, selected: str | None) -> Iterator[tuple[ComponentUpdate, ...]]:
        """Generate the selected video again as a loop."""

        def submit() -> Video:
            video = self.client.retrieve(_require_selected(selected))
            request = VideoRequest(
                prompt=video.prompt,
                size=parse_size(video.size),
                seconds=float(video.seconds),
                seed=video.seed,
                loop=True,
            )
            return self.client.create(request)

        yield from self.follow(submit)

    def interpolate(
        self, selected: str | None, second: str | None, prompt: str
    ) -> Iterator[tuple[ComponentUpdate, ...]]:
        """Generate the frames between the selected video and another."""

        def submit() -> Video:
            first = _require_selected(selected)
            if not second:
                raise UserError("Choose the second video.")
            return self.client.interpolate(
                first, second, prompt.strip() or self.client.retrieve(second).prompt
            )

        yield from self.follow(submit)

    def delete(self, selected: str | None) -> str:
        """Delete the selected video from the server."""
        try:
            self.client.delete(_require_selected(selected))
        except UserError as error:
            return forms.alert_html(str(error))
        return ""

    def list_videos(self, selected: str | None) -> tuple[ComponentUpdate, ...]:
        """Update the gallery."""
        try:
            videos = self.client.list_videos()
        except UserError:
            videos = []
        done = [video for video in videos if video.status == "completed"]
        choices = [(forms.video_label(video), video.id) for video in done]
        video_ids = [video.id for video in done]
        kept = selected if selected in video_ids else next(iter(video_ids), None)
        thumbnails = [(str(self._cached_thumbnail(video.id)), forms.video_label(video)) for video in done]
        return GalleryUpdate(
            gallery=thumbnails,
            selected=gr.update(choices=choices, value=kept),
            second=gr.update(choices=choices, value=None),
            video_ids=video_ids,
        ).values()

    def show_selected(self, selected: str | None) -> tuple[ComponentUpdate, ...]:
        """Update player, download and buttons for the selected video."""
        enabled = bool(selected)
        try:
            path = None if not selected else str(self._cached_video(selected))
        except UserError:
            path, enabled = None, False
        tasks = self.model_info.tasks
        return (
            path,
            gr.update(value=path, interactive=path is not None),
            _button_update(REMIX, enabled),
            _button_update(EXTEND, enabled and "extend" in tasks),
            _button_update(LOOP, enabled),
            _button_update(INTERPOLATE, enabled and "interpolate" in tasks),
            _button_update(DELETE, enabled),
        )

    def _build_request(self, prompt: str, form: Sequence[Any]) -> VideoRequest:
        return forms.build_request(_parse_form(form), prompt, self.model_info)

    def _progress_update(self, video: Video) -> ProgressUpdate:
        player: ComponentUpdate = gr.skip()
        if video.status == "completed":
            player = str(self._cached_video(video.id))
        elif not video.ended:
            player = None
        failed = video.status == "failed" and not video.cancelled
        return ProgressUpdate(
            notice=forms.alert_html(forms.status_text(video)) if failed else "",
            progress=forms.progress_html(video),
            video=player,
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
    """The panel without a video in progress, with an error message if there is one."""
    return ProgressUpdate(
        notice=forms.alert_html(message),
        progress=forms.progress_html(None),
        video=gr.skip(),
        cancel=_button_update(CANCEL, False),
        watched_id="",
    )


def _parse_form(values: Sequence[Any]) -> forms.Form:
    """The values of the form's components, in the order of the page."""
    (
        aspect_ratio, seconds, seed, num_inference_steps, guidance_scale, negative_prompt, image, last_image,
        loop,
    ) = values  # fmt: skip
    return forms.Form(
        aspect_ratio=aspect_ratio,
        seconds=seconds,
        seed=seed,
        num_inference_steps=num_inference_steps,
        guidance_scale=guidance_scale,
        negative_prompt=negative_prompt,
        image=image,
        last_image=last_image,
        loop=loop,
    )


def _button_update(label: str, enabled: bool) -> ComponentUpdate:
    """Update of a button. The label is repeated, because gradio clears it otherwise."""
    return gr.update(value=label, interactive=enabled)


def _require_selected(selected: str | None) -> str:
    if not selected:
        raise UserError("Choose a video first.")
    return selected


def _require_prompt(prompt: str) -> str:
    if not prompt.strip():
        raise UserError("The prompt is empty. Describe the new video.")
    return prompt.strip()


def _storyboard_rows(values: Sequence[Any]) -> list[tuple[Any, Any, Any]]:
    return [(values[i], values[i + 1], values[i + 2]) for i in range(0, len(values), 3)]
