"""The page itself: its components, and which act each of them calls."""

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
/* Gradio's thumbnails are 100 pixels wide or more: three in a row are wider than a phone. */
@media (max-width: 480px) {
  #gallery .grid-container { grid-template-columns: repeat(2, minmax(0, 1fr)) !important; }
}
footer { display: none !important; }
"""
THEME = Base(
    primary_hue="blue",
    # Fonts that every system has: nothing is fetched.
    font=["system-ui", "sans-serif"],
    font_mono=["ui-monospace", "monospace"],
).set(
    # The theme's own greys are too pale for many eyes (below 4.5:1 on white).
    body_text_color_subdued="*neutral_600",
    block_info_text_color="*neutral_600",
    block_label_text_color="*neutral_700",
    block_title_text_color="*neutral_700",
    input_placeholder_color="*neutral_500",
)
_SCROLL_TO_PROGRESS_JS = (
    "() => document.getElementById('making').scrollIntoView({behavior: 'smooth', block: 'nearest'})"
)
_MAX_LENGTH_FACTOR = 4
"""The slider goes to so many times the model's own length."""


@dataclass(frozen=True, kw_only=True)
class _ProgressPanel:
    """The film that is being made: what events write to, in order."""

    outputs: Sequence[Component]
    cancel: gr.Button
    notice: gr.HTML
    watched_id: gr.State


def build_app(client: Client, folder: Path) -> gr.Blocks:
    """The page for a server.

    Args:
        client: of the server.
        folder: for films and thumbnails that browsers are given.

    Raises:
        UserError: the server does not answer.
    """
    acts = Callbacks(client=client, model_info=client.model_info(), folder=folder)
    with gr.Blocks(title="Kinema studio", analytics_enabled=False, delete_cache=(3600, 86400)) as blocks:
        gr.Markdown(
            f"# Kinema studio\nFilms from words, made by the model **{acts.model_info.name}** on this server."
        )
        with gr.Row(equal_height=False):
            with gr.Column(min_width=320, scale=3):
                with gr.Tabs():
                    with gr.Tab("Words"):
                        prompt, make = _text_to_video_tab()
                    with gr.Tab("Storyboard"):
                        rows, tell = _storyboard_tab(acts.model_info.seconds)
                form = _settings_form(acts)
                with gr.Row():
                    plan = gr.Button("What will it cost?", elem_id="plan", min_width=140)
                    cost = gr.Markdown("", elem_id="cost")
            with gr.Column(min_width=320, scale=2, elem_id="making"):
                panel = _progress_panel()
        gallery, chosen, other, order = _gallery_and_actions(acts, panel)
        listed = [gallery, chosen, other, order]
        begin = [make, tell]
        inputs = [[prompt, *form], [*rows, *form]]
        for button, act, given in zip(begin, (acts.submit_text, acts.submit_storyboard), inputs, strict=True):
            button.click(None, js=_SCROLL_TO_PROGRESS_JS)
            button.click(act, given, panel.outputs, concurrency_limit=None, show_progress="hidden").then(
                acts.list_videos, chosen, listed, show_progress="hidden"
            )
        plan.click(acts.estimate_cost, [prompt, *form], cost)
        panel.cancel.click(acts.cancel, panel.watched_id, panel.notice, queue=False, show_progress="hidden")
        blocks.load(acts.list_videos, chosen, listed, show_progress="hidden")
        blocks.load(
            acts.resume_running, None, panel.outputs, concurrency_limit=None, show_progress="hidden"
        ).then(acts.list_videos, chosen, listed, show_progress="hidden")
    return blocks


def _text_to_video_tab() -> tuple[gr.Textbox, gr.Button]:
    prompt = gr.Textbox(
        label="What the film shows", lines=4, max_length=32_000, elem_id="prompt",
        placeholder="Things, what they do, and what the camera does",
    )  # fmt: skip
    gr.Examples([[example] for example in forms.EXAMPLE_PROMPTS], [prompt], label="Examples")
    return prompt, gr.Button("Make the film", variant="primary", elem_id="make")


def _storyboard_tab(seconds: float) -> tuple[list[Component], gr.Button]:
    """Rows of a shot each; those not in use are hidden."""
    gr.Markdown("One film of several shots. Say what each shows, and when it begins.")
    rows: list[Component] = []
    groups: list[gr.Group] = []
    for number in range(1, forms.MAX_SHOTS + 1):
        with gr.Group(visible=number <= 2) as group:
            shown = gr.Textbox(label=f"Shot {number} shows", lines=2, elem_id=f"shot-{number}")
            with gr.Row():
                begin = gr.Number(
                    label=f"Shot {number} begins at (seconds)", minimum=0, min_width=120,
                    value=0 if number == 1 else round((number - 1) * seconds / 2, 2),
                    interactive=number > 1, elem_id=f"begin-{number}",
                )  # fmt: skip
                kind = gr.Radio(
                    [("Cut", "cut"), ("Blend", "blend")], value="cut", min_width=120,
                    label=f"Into shot {number}", visible=number > 1,
                )  # fmt: skip
        rows += [shown, begin, kind]
        groups.append(group)
    count = gr.State(2)
    with gr.Row():
        more = gr.Button("Add a shot", elem_id="add-shot", min_width=100)
        fewer = gr.Button("Remove the last shot", elem_id="remove-shot", min_width=100)

    def visible(number: int) -> list[object]:
        return [number, *(gr.update(visible=at < number) for at in range(forms.MAX_SHOTS))]

    more.click(lambda number: visible(min(forms.MAX_SHOTS, number + 1)), count, [count, *groups])

    def without_last(number: int) -> list[object]:
        kept = max(2, number - 1)
        # A hidden shot must not be told.
        return [*visible(kept), *("" if at >= kept else gr.skip() for at in range(forms.MAX_SHOTS))]

    fewer.click(without_last, count, [count, *groups, *rows[::3]])
    return rows, gr.Button("Make the storyboard", variant="primary", elem_id="tell")


def _settings_form(callbacks: Callbacks) -> list[Component]:
    """What both tabs ask about a film; the order is that of `callbacks`."""
    served = callbacks.model_info
    names = list(forms.size_choices(served))
    shape = gr.Radio(names, value=names[0], label="Shape", elem_id="shape")
    own = round(served.seconds, 3)
    with gr.Row():
        seconds = gr.Slider(
            round(1 / served.fps, 3), round(_MAX_LENGTH_FACTOR * own, 3), value=own, step=round(1 / served.fps, 3),
            label="Length in seconds", min_width=140, elem_id="seconds",
        )  # fmt: skip
        seed = gr.Number(
            0, label="Seed", info="Another seed, another film.", precision=0, minimum=0, min_width=140,
            elem_id="seed",
        )  # fmt: skip
    with gr.Accordion("Pictures", open=False, visible=served.supports_images), gr.Row():
        first = gr.Image(label="First frame", type="filepath", sources=["upload"], height=180, min_width=140)
        last = gr.Image(label="Last frame", type="filepath", sources=["upload"], height=180, min_width=140)
    with gr.Accordion("More settings", open=False):
        loop = gr.Checkbox(False, label="Loop: the end leads into the beginning", elem_id="loop-new")
        negative = gr.Textbox(label="What the film does not show", lines=2)
        with gr.Row():
            steps = gr.Slider(
                1, 4 * served.num_inference_steps, value=served.num_inference_steps, step=1, label="Steps: more is slower and finer",
                min_width=140, elem_id="steps",
            )  # fmt: skip
            guidance = gr.Slider(
                1, 12, value=served.guidance_scale, step=0.1, label="Guidance: how strictly the words are taken",
                min_width=140,
            )  # fmt: skip
    return [shape, seconds, seed, steps, guidance, negative, first, last, loop]


def _progress_panel() -> _ProgressPanel:
    gr.Markdown("## Being made")
    notice = gr.HTML("", elem_id="notice", padding=False)
    progress = gr.HTML(forms.progress_html(None), elem_id="progress", padding=False)
    cancel = gr.Button(CANCEL, variant="stop", interactive=False, elem_id="cancel")
    film = gr.Video(label="The new film", interactive=False, autoplay=True, loop=True, elem_id="new-film")
    watched = gr.State("")
    return _ProgressPanel(
        outputs=[notice, progress, film, cancel, watched], cancel=cancel, notice=notice, watched_id=watched
    )


def _gallery_and_actions(
    callbacks: Callbacks, panel: _ProgressPanel
) -> tuple[gr.Gallery, gr.Dropdown, gr.Dropdown, gr.State]:
    """The films that are there, and what can be done with the chosen one."""
    gr.Markdown("## Films")
    with gr.Row(equal_height=False):
        with gr.Column(min_width=320, scale=3):
            gallery = gr.Gallery(
                label="Films, newest first", columns=3, height=300, allow_preview=False, interactive=False,
                object_fit="cover", elem_id="gallery",
            )  # fmt: skip
            chosen = gr.Dropdown([], label="Chosen film", elem_id="chosen")
            player = gr.Video(label="The chosen film", interactive=False, loop=True, elem_id="player")
        with gr.Column(min_width=320, scale=2):
            again = gr.Textbox(
                label="Other words, for a remix, an extension or a bridge", lines=3, elem_id="again"
            )
            with gr.Row():
                remix = gr.Button(REMIX, interactive=False, elem_id="remix", min_width=100)
                loop = gr.Button(LOOP, interactive=False, elem_id="loop", min_width=100)
            with gr.Group(visible="extend" in callbacks.model_info.tasks):
                with gr.Row():
                    longer = gr.Number(
                        round(callbacks.model_info.seconds, 3), label="Seconds more", minimum=0, min_width=120,
                        elem_id="longer",
                    )  # fmt: skip
                    where = gr.Radio([AFTER_END, BEFORE_START], value=AFTER_END, label="Where", min_width=120)
                extend = gr.Button(EXTEND, interactive=False, elem_id="extend")
            with gr.Group(visible="connect" in callbacks.model_info.tasks):
                other = gr.Dropdown([], label="Film to lead to", elem_id="other")
                connect = gr.Button(INTERPOLATE, interactive=False, elem_id="connect")
            download = gr.DownloadButton("Download", interactive=False, elem_id="download")
            delete = gr.Button(DELETE, variant="stop", interactive=False, elem_id="delete")
            with gr.Row(visible=False) as sure:
                yes = gr.Button("Yes, delete this film", variant="stop", elem_id="delete-yes", min_width=100)
                no = gr.Button("Keep it", elem_id="delete-no", min_width=100)
    order = gr.State([])
    listed = [gallery, chosen, other, order]
    shown = [player, download, remix, extend, loop, connect, delete]

    def pick(video_ids: list[str], event: gr.SelectData) -> str:
        return video_ids[event.index]

    gallery.select(pick, order, chosen, show_progress="hidden")
    chosen.change(callbacks.show_selected, chosen, shown, show_progress="hidden")
    deeds = [
        (remix, callbacks.remix, [chosen, again]),
        (extend, callbacks.extend, [chosen, again, longer, where]),
        (loop, callbacks.loop, [chosen]),
        (connect, callbacks.interpolate, [chosen, other, again]),
    ]
    for button, act, inputs in deeds:
        button.click(None, js=_SCROLL_TO_PROGRESS_JS)
        button.click(act, inputs, panel.outputs, concurrency_limit=None, show_progress="hidden").then(
            callbacks.list_videos, chosen, listed, show_progress="hidden"
        )
    delete.click(lambda: gr.update(visible=True), None, sure, show_progress="hidden")
    no.click(lambda: gr.update(visible=False), None, sure, show_progress="hidden")
    yes.click(callbacks.delete, chosen, panel.notice, show_progress="hidden").then(
        lambda: gr.update(visible=False), None, sure, show_progress="hidden"
    ).then(callbacks.list_videos, chosen, listed, show_progress="hidden")
    return gallery, chosen, other, order
