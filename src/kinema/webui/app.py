"""The page: its components, and the callback of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
from gradio.components import Component
from gradio.themes import Base

from kinema.webui import forms
from kinema.webui.callbacks import (
    AFTER_END,
    BEFORE_START,
    CANCEL,
    DELETE,
    EXTEND,
    INTERPOLATE,
    LOOP,
    REMIX,
    Callbacks,
)
from kinema.webui.client import Client

CSS = """
.gradio-container { max-width: 1100px !important; margin: 0 auto !important; }
.bar { background: var(--border-color-primary); border-radius: 6px; height: 14px; overflow: hidden; }
.bar > div { background: var(--color-accent); height: 100%; transition: width .2s; }
.preview { width: 100%; max-width: 320px; border-radius: 8px; }
.alert { background: #b91c1c; color: #fff; border-radius: 8px; padding: 10px 14px; font-weight: 600; }
#notice:not(:has(.alert)) { display: none; }
#notice .html-container, #progress .html-container { padding: 0 !important; }
#notice p, #progress p { margin: 4px 0; }
/* Thumbnails of gradio are at least 100 pixels wide: three in a row are wider than a phone. */
@media (max-width: 480px) {
  #gallery .grid-container { grid-template-columns: repeat(2, minmax(0, 1fr)) !important; }
}
footer { display: none !important; }
"""
THEME = Base(
    primary_hue="blue",
    # System fonts: the page loads nothing from other hosts.
    font=["system-ui", "sans-serif"],
    font_mono=["ui-monospace", "monospace"],
).set(
    # The default greys have too little contrast (below 4.5:1 on white).
    body_text_color_subdued="*neutral_600",
    block_info_text_color="*neutral_600",
    block_label_text_color="*neutral_700",
    block_title_text_color="*neutral_700",
    input_placeholder_color="*neutral_500",
)
_SCROLL_TO_PROGRESS_JS = (
    "() => document.getElementById('progress-panel').scrollIntoView({behavior: 'smooth', block: 'nearest'})"
)
_MAX_LENGTH_FACTOR = 4
"""Maximum of the length slider, in multiples of the default length."""


@dataclass(frozen=True, kw_only=True)
class _ProgressPanel:
    """Components of the progress panel, in the order of `ProgressUpdate`."""

    outputs: Sequence[Component]
    cancel: gr.Button
    notice: gr.HTML
    watched_id: gr.State


def build_app(client: Client, folder: Path) -> gr.Blocks:
    """Build the page for a server.

    Args:
        client: client of the server.
        folder: for videos and thumbnails that browsers load.

    Raises:
        UserError: the server does not answer.
    """
    callbacks = Callbacks(client=client, model_info=client.model_info(), folder=folder)
    with gr.Blocks(title="Kinema studio", analytics_enabled=False, delete_cache=(3600, 86400)) as blocks:
        gr.Markdown(f"# Kinema studio\nText to video with the model **{callbacks.model_info.name}**.")
        with gr.Row(equal_height=False):
            with gr.Column(min_width=320, scale=3):
                with gr.Tabs():
                    with gr.Tab("Text to video"):
                        prompt, generate = _text_to_video_tab()
                    with gr.Tab("Storyboard"):
                        rows, generate_storyboard = _storyboard_tab(callbacks.model_info.seconds)
                form = _settings_form(callbacks)
                with gr.Row():
                    estimate = gr.Button("Estimate time and memory", elem_id="estimate", min_width=140)
                    cost = gr.Markdown("", elem_id="cost")
            with gr.Column(min_width=320, scale=2, elem_id="progress-panel"):
                panel = _progress_panel()
        gallery = _gallery_and_actions(callbacks, panel)
        selected = gallery[1]
        submits = (
            (generate, callbacks.submit_text, [prompt, *form]),
            (generate_storyboard, callbacks.submit_storyboard, [*rows, *form]),
        )
        for button, submit, inputs in submits:
            button.click(None, js=_SCROLL_TO_PROGRESS_JS)
            button.click(submit, inputs, panel.outputs, concurrency_limit=None, show_progress="hidden").then(
                callbacks.list_videos, selected, gallery, show_progress="hidden"
            )
        estimate.click(callbacks.estimate, [prompt, *form], cost)
        panel.cancel.click(
            callbacks.cancel, panel.watched_id, panel.notice, queue=False, show_progress="hidden"
        )
        blocks.load(callbacks.list_videos, selected, gallery, show_progress="hidden")
        blocks.load(
            callbacks.resume_running, None, panel.outputs, concurrency_limit=None, show_progress="hidden"
        ).then(callbacks.list_videos, selected, gallery, show_progress="hidden")
    return blocks


def _text_to_video_tab() -> tuple[gr.Textbox, gr.Button]:
    prompt = gr.Textbox(
        label="Prompt: what the video shows", lines=4, max_length=32_000, elem_id="prompt",
        placeholder="Objects, what they do, and what the camera does",
    )  # fmt: skip
    gr.Examples([[example] for example in forms.EXAMPLE_PROMPTS], [prompt], label="Examples")
    return prompt, gr.Button("Generate", variant="primary", elem_id="generate")


def _storyboard_tab(seconds: float) -> tuple[list[Component], gr.Button]:
    """One row for each shot; unused rows are hidden."""
    gr.Markdown("One video of several shots. Each shot has a prompt and a start time.")
    rows: list[Component] = []
    groups: list[gr.Group] = []
    for number in range(1, forms.MAX_SHOTS + 1):
        with gr.Group(visible=number <= 2) as group:
            prompt = gr.Textbox(label=f"Prompt of shot {number}", lines=2, elem_id=f"shot-{number}")
            with gr.Row():
                start = gr.Number(
                    label=f"Start of shot {number} (seconds)", minimum=0, min_width=120,
                    value=0 if number == 1 else round((number - 1) * seconds / 2, 2),
                    interactive=number > 1, elem_id=f"start-{number}",
                )  # fmt: skip
                transition = gr.Radio(
                    [("Cut", "cut"), ("Blend", "blend")], value="cut", min_width=120,
                    label=f"Transition to shot {number}", visible=number > 1,
                )  # fmt: skip
        rows += [prompt, start, transition]
        groups.append(group)
    count = gr.State(2)
    with gr.Row():
        add = gr.Button("Add a shot", elem_id="add-shot", min_width=100)
        remove = gr.Button("Remove the last shot", elem_id="remove-shot", min_width=100)

    def show_shots(number: int) -> list[object]:
        return [number, *(gr.update(visible=i < number) for i in range(forms.MAX_SHOTS))]

    def remove_last(number: int) -> list[object]:
        kept = max(2, number - 1)
        # Prompts of hidden shots are cleared, so that they are not sent.
        return [*show_shots(kept), *("" if i >= kept else gr.skip() for i in range(forms.MAX_SHOTS))]

    add.click(lambda number: show_shots(min(forms.MAX_SHOTS, number + 1)), count, [count, *groups])
    remove.click(remove_last, count, [count, *groups, *rows[::3]])
    return rows, gr.Button("Generate from storyboard", variant="primary", elem_id="generate-storyboard")


def _settings_form(callbacks: Callbacks) -> list[Component]:
    """Settings of both tabs, in the order of `callbacks._parse_form`."""
    info = callbacks.model_info
    names = list(forms.size_choices(info))
    aspect_ratio = gr.Radio(names, value=names[0], label="Size", elem_id="size")
    frame = round(1 / info.fps, 3)
    with gr.Row():
        seconds = gr.Slider(
            frame, round(_MAX_LENGTH_FACTOR * info.seconds, 3), value=round(info.seconds, 3), step=frame,
            label="Length in seconds", min_width=140, elem_id="seconds",
        )  # fmt: skip
        seed = gr.Number(
            0, label="Seed", info="Of the noise; empty takes a random one.", precision=0, minimum=0,
            min_width=140, elem_id="seed",
        )  # fmt: skip
    with gr.Accordion("Images", open=False, visible=info.supports_images), gr.Row():
        image = gr.Image(label="First frame", type="filepath", sources=["upload"], height=180, min_width=140)
        last_image = gr.Image(
            label="Last frame", type="filepath", sources=["upload"], height=180, min_width=140
        )
    with gr.Accordion("More settings", open=False):
        loop = gr.Checkbox(False, label="Loop: the last frame leads into the first", elem_id="loop-new")
        negative_prompt = gr.Textbox(label="Negative prompt", lines=2)
        with gr.Row():
            num_inference_steps = gr.Slider(
                1, 4 * info.num_inference_steps, value=info.num_inference_steps, step=1,
                label="Inference steps: more are slower and more exact", min_width=140, elem_id="steps",
            )  # fmt: skip
            guidance_scale = gr.Slider(
                1, 12, value=info.guidance_scale, step=0.1, min_width=140,
                label="Guidance scale: how closely the video follows the prompt",
            )  # fmt: skip
    return [
        aspect_ratio, seconds, seed, num_inference_steps, guidance_scale, negative_prompt, image, last_image,
        loop,
    ]  # fmt: skip


def _progress_panel() -> _ProgressPanel:
    gr.Markdown("## In progress")
    notice = gr.HTML("", elem_id="notice", padding=False)
    progress = gr.HTML(forms.progress_html(None), elem_id="progress", padding=False)
    cancel = gr.Button(CANCEL, variant="stop", interactive=False, elem_id="cancel")
    video = gr.Video(label="New video", interactive=False, autoplay=True, loop=True, elem_id="new-video")
    watched_id = gr.State("")
    return _ProgressPanel(
        outputs=[notice, progress, video, cancel, watched_id],
        cancel=cancel,
        notice=notice,
        watched_id=watched_id,
    )


def _gallery_and_actions(callbacks: Callbacks, panel: _ProgressPanel) -> list[Component]:
    """Finished videos, and buttons for the selected one; returns the components of `GalleryUpdate`."""
    tasks = callbacks.model_info.tasks
    gr.Markdown("## Videos")
    with gr.Row(equal_height=False):
        with gr.Column(min_width=320, scale=3):
            gallery = gr.Gallery(
                label="Videos, newest first", columns=3, height=300, allow_preview=False, interactive=False,
                object_fit="cover", elem_id="gallery",
            )  # fmt: skip
            selected = gr.Dropdown([], label="Selected video", elem_id="selected")
            player = gr.Video(label="Player", interactive=False, loop=True, elem_id="player")
        with gr.Column(min_width=320, scale=2):
            prompt = gr.Textbox(
                label="Prompt for a remix, an extension or an interpolation", lines=3, elem_id="new-prompt"
            )
            with gr.Row():
                remix = gr.Button(REMIX, interactive=False, elem_id="remix", min_width=100)
                loop = gr.Button(LOOP, interactive=False, elem_id="loop", min_width=100)
            with gr.Group(visible="extend" in tasks):
                with gr.Row():
                    seconds = gr.Number(
                        round(callbacks.model_info.seconds, 3), label="Seconds to add", minimum=0,
                        min_width=120, elem_id="added-seconds",
                    )  # fmt: skip
                    position = gr.Radio(
                        [AFTER_END, BEFORE_START], value=AFTER_END, label="Position", min_width=120
                    )
                extend = gr.Button(EXTEND, interactive=False, elem_id="extend")
            with gr.Group(visible="interpolate" in tasks):
                second = gr.Dropdown([], label="Second video", elem_id="second")
                interpolate = gr.Button(INTERPOLATE, interactive=False, elem_id="interpolate")
            download = gr.DownloadButton("Download", interactive=False, elem_id="download")
            delete = gr.Button(DELETE, variant="stop", interactive=False, elem_id="delete")
            with gr.Row(visible=False) as confirmation:
                yes = gr.Button("Yes, delete this video", variant="stop", elem_id="delete-yes", min_width=100)
                no = gr.Button("Keep it", elem_id="delete-no", min_width=100)
    video_ids = gr.State([])
    gallery_outputs: list[Component] = [gallery, selected, second, video_ids]

    def select(ids: list[str], event: gr.SelectData) -> str:
        return ids[event.index]

    gallery.select(select, video_ids, selected, show_progress="hidden")
    selected.change(
        callbacks.show_selected,
        selected,
        [player, download, remix, extend, loop, interpolate, delete],
        show_progress="hidden",
    )
    actions = [
        (remix, callbacks.remix, [selected, prompt]),
        (extend, callbacks.extend, [selected, prompt, seconds, position]),
        (loop, callbacks.loop, [selected]),
        (interpolate, callbacks.interpolate, [selected, second, prompt]),
    ]
    for button, action, inputs in actions:
        button.click(None, js=_SCROLL_TO_PROGRESS_JS)
        button.click(action, inputs, panel.outputs, concurrency_limit=None, show_progress="hidden").then(
            callbacks.list_videos, selected, gallery_outputs, show_progress="hidden"
        )
    delete.click(lambda: gr.update(visible=True), None, confirmation, show_progress="hidden")
    no.click(lambda: gr.update(visible=False), None, confirmation, show_progress="hidden")
    yes.click(callbacks.delete, selected, panel.notice, show_progress="hidden").then(
        lambda: gr.update(visible=False), None, confirmation, show_progress="hidden"
    ).then(callbacks.list_videos, selected, gallery_outputs, show_progress="hidden")
    return gallery_outputs
