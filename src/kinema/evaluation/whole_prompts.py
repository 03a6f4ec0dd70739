"""The prompts of the set `whole`: simulated scenes of every event and outcome, described by captions.

The prompts are stored (`whole_prompts.json`), because sampling the scenes takes a minute;
`tools.whole_prompts` writes the file. No training set has the seeds of these scenes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinema.errors import UserError
from kinema.evaluation.whole import SceneMeaning
from kinema.simulator.annotation_io import annotations_to_json
from kinema.simulator.annotations import PAIRED_EVENTS, ClipAnnotations, Environment, Event
from kinema.simulator.captions import environment_phrases, generate_captions, lexicon
from kinema.simulator.clip import Clip, make_clip
from kinema.simulator.clip_spec import ClipSpec
from kinema.simulator.events import EVENT_TYPES, EVENT_WEIGHTS
from kinema.simulator.scene_attributes import SceneLabels, read_scene_labels

PROMPTS_FILE = Path(__file__).with_name("whole_prompts.json")
STYLES = ("full", "rich")
"""Styles of the captions, in turn: without the setting, and with everything."""
SCENES_PER_OUTCOME = 4
_FIRST_SEED = 1 << 44
"""Seeds of training sets are below, or far above."""
_MAX_SEED_TRIES = 40


@dataclass(frozen=True, kw_only=True)
class WholePrompt:
    """A prompt of the set.

    Attributes:
        prompt: the caption.
        event: of the scene.
        outcome: of the event.
        scene_seed: of the scene.
        style: of the caption.
        meaning: what the caption says.
    """

    prompt: str
    event: Event
    outcome: str
    scene_seed: int
    style: str
    meaning: SceneMeaning


def list_scenes() -> Iterator[tuple[int, Event, str, str]]:
    """Yield the first seed, event, outcome and caption style of every prompt of the set."""
    index = 0
    for event in EVENT_WEIGHTS:
        if event in PAIRED_EVENTS:
            continue
        for outcome in EVENT_TYPES[event].outcomes:
            for number in range(SCENES_PER_OUTCOME):
                yield _FIRST_SEED + index * _MAX_SEED_TRIES, event, outcome, STYLES[number % len(STYLES)]
                index += 1


def render_scene(
    first_seed: int,
    event: Event,
    outcome: str,
    style: str,
    *,
    height: int = 128,
    width: int = 128,
    num_frames: int = 25,
    fps: float = 12.0,
    render: bool = True,
) -> tuple[WholePrompt, Clip]:
    """Render a scene of an event and an outcome, and describe it.

    Raises:
        UserError: no seed gives such a scene within so few frames.
    """
    for seed in range(first_seed, first_seed + _MAX_SEED_TRIES):
        spec = ClipSpec(
            seed=seed,
            event=event,
            outcome=outcome,
            height=height,
            width=width,
            num_frames=num_frames,
            fps=fps,
        )
        try:
            clip = make_clip(spec, render=render)
        except UserError:
            continue  # Not every seed has every outcome within so few frames.
        prompt, meaning = describe_scene(clip.annotations, style)
        found = WholePrompt(
            prompt=prompt, event=event, outcome=outcome, scene_seed=seed, style=style, meaning=meaning
        )
        return found, clip
    raise UserError(f"the simulator finds no clip of {event!r} with {outcome!r}; use more frames")


def meaning_of_plain_caption(text: str, annotations: str) -> SceneMeaning:
    """What the first caption of a clip says, from the JSON of the clip's annotations."""
    labels = read_scene_labels(annotations)
    names = {"event", "outcome"} | ({"camera"} if labels.one["camera"] != "static" else set())
    return SceneMeaning(stated={**_stated_values(labels, names), **_stated_objects(labels, text)})


def describe_scene(annotations: ClipAnnotations, style: str) -> tuple[str, SceneMeaning]:
    """A caption of a clip, and what it says."""
    captions = generate_captions(annotations)
    caption = next((one for one in captions if one.style == style), captions[0])
    labels = read_scene_labels(annotations_to_json(annotations))
    names = {"event", "outcome"}
    if caption.style == "rich" or any(annotations.claims[one].kind == "camera" for one in caption.claims):
        names.add("camera")
    if caption.style == "rich":
        names |= {"floor", "place"}
        if environment_phrases.background_phrases(annotations.environment):
            names.add("background")
    objects = _without_environment(caption.text, annotations.environment)
    stated = {**_stated_values(labels, names), **_stated_objects(labels, objects)}
    return caption.text, SceneMeaning(stated=stated)


def _stated_values(labels: SceneLabels, names: set[str]) -> dict[str, frozenset[str]]:
    return {name: frozenset({labels.one[name]}) for name in sorted(names & set(labels.one))}


def _stated_objects(labels: SceneLabels, text: str) -> dict[str, frozenset[str]]:
    materials = {name: words.substance for name, words in lexicon.MATERIALS.items()}
    return {
        "shapes": labels.main["shapes"],
        "colours": _with_words(labels.main["colours"], lexicon.COLOURS, text),
        "materials": _with_words(labels.main["materials"], materials, text),
    }


def _without_environment(text: str, environment: Environment) -> str:
    """A caption without the phrases of its setting, which have words of colours and materials too."""
    for phrases in (
        environment_phrases.sky_phrases(environment),
        environment_phrases.floor_phrases(environment),
        environment_phrases.background_phrases(environment),
    ):
        for phrase in phrases:
            text = text.replace(phrase, "")
    return text


def _with_words(values: Iterable[str], words: Mapping[str, Sequence[str]], text: str) -> frozenset[str]:
    """The values of which the text has a word."""
    return frozenset(
        value
        for value in values
        if any(re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE) for word in (value, *words[value]))
    )


def load_whole_prompts() -> tuple[WholePrompt, ...]:
    """The prompts of the set, in order."""
    return tuple(_prompt_from_json(row) for row in json.loads(PROMPTS_FILE.read_text()))


def prompt_to_json(prompt: WholePrompt) -> dict[str, object]:
    """A prompt as JSON types."""
    return {
        "prompt": prompt.prompt,
        "event": prompt.event,
        "outcome": prompt.outcome,
        "scene_seed": prompt.scene_seed,
        "style": prompt.style,
        "stated": {name: sorted(values) for name, values in prompt.meaning.stated.items()},
    }


def _prompt_from_json(row: dict[str, Any]) -> WholePrompt:
    stated = {name: frozenset(values) for name, values in row.pop("stated").items()}
    return WholePrompt(**row, meaning=SceneMeaning(stated=stated))
