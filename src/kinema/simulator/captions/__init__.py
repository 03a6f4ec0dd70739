"""Captions of simulated clips. Every statement comes from the clip's annotations.

`generate_captions` writes a 'core' caption, short and in lower case like a typed prompt ('a red ball rolls to
the left'), and paraphrases from terse to rich. The steps are those of a classic text generator: content
planning (`content_planning`), templates and words (`lexicalization`), references (`referring_expressions`)
and sentences (`realization`).
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from kinema.simulator.annotations import Caption, ClipAnnotations
from kinema.simulator.captions import adverbials, environment_phrases
from kinema.simulator.captions.content_planning import Message, plan_messages
from kinema.simulator.captions.grammar import VerbForm, inflect, join_list, normalize_spacing
from kinema.simulator.captions.realization import Realizer
from kinema.simulator.captions.referring_expressions import (
    Detail,
    ReferenceTracker,
    Register,
    collect_groups,
    pick,
)

__all__ = ["STYLES", "CaptionStyle", "generate_captions"]


@dataclass(frozen=True, kw_only=True)
class CaptionStyle:
    """One style of caption."""

    name: str
    register: Register
    detail: Detail
    with_consequences: bool = True
    max_messages_per_sentence: int = 9
    form: VerbForm = "finite"
    environment_position: str = ""
    """Where the environment is described: 'front', 'back', or empty for nowhere."""
    camera: str = "moving"
    """When the camera move is described: 'moving' (only if it moves), 'always', 'never', or as a 'label'."""
    background: bool = False
    """Whether background objects are described."""
    as_sentences: bool = True
    """Whether sentences start with a capital and end with a full stop."""


STYLES: tuple[CaptionStyle, ...] = (
    CaptionStyle(name="core", register="core", detail="core", with_consequences=False, as_sentences=False),
    CaptionStyle(name="full", register="core", detail="core", max_messages_per_sentence=4),
    CaptionStyle(name="terse", register="terse", detail="core", camera="never", as_sentences=False),
    CaptionStyle(name="simple", register="core", detail="some", max_messages_per_sentence=1, camera="always"),
    CaptionStyle(name="plain", register="plain", detail="some", max_messages_per_sentence=3),
    CaptionStyle(
        name="rich",
        register="plain",
        detail="full",
        max_messages_per_sentence=3,
        environment_position="back",
        camera="always",
        background=True,
    ),
    CaptionStyle(
        name="scene",
        register="plain",
        detail="full",
        max_messages_per_sentence=4,
        environment_position="front",
    ),
    CaptionStyle(
        name="everyday", register="casual", detail="some", max_messages_per_sentence=3, camera="moving"
    ),
    CaptionStyle(
        name="video of",
        register="plain",
        detail="some",
        max_messages_per_sentence=3,
        form="gerund",
        camera="never",
    ),
    CaptionStyle(
        name="shot",
        register="casual",
        detail="full",
        max_messages_per_sentence=2,
        environment_position="front",
        camera="label",
    ),
)


def generate_captions(annotations: ClipAnnotations) -> tuple[Caption, ...]:
    """Write every caption of a clip.

    Returns:
        One caption per style with duplicate texts left out; 'core' comes first. The result depends only on
        the annotations, including their seed.
    """
    captions: dict[str, Caption] = {}
    for style in STYLES:
        caption = _write_caption(annotations, style)
        captions.setdefault(caption.text, caption)
    return tuple(captions.values())


def _write_caption(annotations: ClipAnnotations, style: CaptionStyle) -> Caption:
    rng = random.Random(f"{annotations.seed} {annotations.event} {annotations.cause} {style.name}")
    groups = collect_groups(annotations)
    references = ReferenceTracker(
        annotations=annotations, groups=groups, rng=rng, detail=style.detail, register=style.register
    )
    messages = plan_messages(annotations, groups)
    if (
        style.register != "core"
        and len(messages) > 1
        and rng.random() < 0.5
        and messages[0].kind in _CONVERSES
    ):
        messages = messages[::-1]
    realizer = Realizer(
        references=references,
        rng=rng,
        with_consequences=style.with_consequences,
        max_messages_per_sentence=style.max_messages_per_sentence,
        form=style.form,
    )
    realized = realizer.realize(_drop_converse_duplicates(messages))
    sentences = list(realized.sentences)
    claims = set(realized.claims)
    sentences = _append_cause(annotations, style, sentences, rng)
    sentences = _add_environment(annotations, style, sentences, rng)
    if style.background:
        sentences += _background_sentences(annotations, references, rng)
    camera_claim = next((i for i, claim in enumerate(annotations.claims) if claim.kind == "camera"), None)
    sentences, states_camera = _add_camera(annotations, style, sentences, rng)
    if states_camera and camera_claim is not None:
        claims.add(camera_claim)
    if style.form == "gerund":
        sentences[0] = pick(rng, adverbials.VIDEO_OF).format(noun=sentences[0])
    elif style.name == "everyday" and rng.random() < 0.3:
        sentences[0] = pick(rng, adverbials.EVERYDAY_OPENINGS).format(sentence=sentences[0])
    if style.as_sentences:
        text = " ".join(_capitalize(sentence) + "." for sentence in sentences)
    else:
        text = ", ".join(sentences)
    return Caption(style=style.name, text=text, claims=tuple(sorted(claims)))


_CONVERSES = {"left of": "right of", "right of": "left of"}


def _drop_converse_duplicates(messages: list[Message]) -> list[Message]:
    """Drop 'b is right of a' after 'a is left of b': both mean the same."""
    unique: list[Message] = []
    for message in messages:
        converse = _CONVERSES.get(message.kind)
        if converse and any(
            m.kind == converse and m.subject == message.object and m.object == message.subject for m in unique
        ):
            continue
        unique.append(message)
    return unique


def _capitalize(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]


def _append_cause(
    annotations: ClipAnnotations, style: CaptionStyle, sentences: list[str], rng: random.Random
) -> list[str]:
    """Append 'because there is no wall' to the last sentence."""
    if annotations.cause not in ("no wall",) or style.register == "terse" or not sentences:
        return sentences
    clauses = adverbials.CAUSE_CLAUSES[annotations.cause]
    clause = clauses[0] if style.register == "core" else pick(rng, clauses)
    return [*sentences[:-1], f"{sentences[-1]} {clause}"]


def _add_environment(
    annotations: ClipAnnotations, style: CaptionStyle, sentences: list[str], rng: random.Random
) -> list[str]:
    if not style.environment_position or not sentences:
        return sentences
    sky = environment_phrases.sky_phrases(annotations.environment)
    floor = environment_phrases.floor_phrases(annotations.environment)
    background = environment_phrases.background_phrases(annotations.environment)
    phrases = [pick(rng, options) for options in (sky, floor, background) if options]
    if not phrases:
        return sentences
    if style.environment_position == "front":
        front = phrases[: 1 if len(phrases) < 2 or rng.random() < 0.4 else 2]
        rng.shuffle(front)
        return [f"{', '.join(front)}, {sentences[0]}", *sentences[1:]]
    opening = pick(rng, adverbials.ENVIRONMENT_OPENINGS)
    return [*sentences, f"{opening} {', '.join(phrases)}"]


def _background_sentences(
    annotations: ClipAnnotations, references: ReferenceTracker, rng: random.Random
) -> list[str]:
    behind = [
        entity
        for entity in annotations.entities
        if entity.role == "background"
        and entity.named
        and annotations.tracks.pixels[:, entity.index].max() > 30
    ]
    if not behind:
        return []
    things = join_list([references.mention(entity.index) for entity in behind])
    return [inflect(pick(rng, adverbials.BACKGROUND_TEMPLATES).format(things=things), plural=len(behind) > 1)]


def _add_camera(
    annotations: ClipAnnotations, style: CaptionStyle, sentences: list[str], rng: random.Random
) -> tuple[list[str], bool]:
    """Add the camera move to the sentences; also returns whether they state it."""
    static = annotations.camera == "static"
    if style.camera == "never" or (style.camera == "moving" and static and annotations.event != "camera"):
        return sentences, False
    phrases = adverbials.CAMERA_PHRASES[annotations.camera]
    core = style.register == "core"
    if style.camera == "label":
        label = pick(rng, phrases.label)
        return [
            pick(rng, adverbials.CAMERA_LABELS).format(
                label=label, sentence=sentences[0], capital=_capitalize(sentences[0])
            ),
            *sentences[1:],
        ], True
    options = phrases.casual if style.register == "casual" else phrases.plain
    clause = inflect(phrases.core if core else pick(rng, options), plural=False)
    if style.name == "core" or (not core and not static and len(sentences) == 1 and rng.random() < 0.5):
        template = adverbials.CAMERA_CLAUSES[0] if core else pick(rng, adverbials.CAMERA_CLAUSES)
        comma = "," if "," in sentences[-1] else ""
        return [
            *sentences[:-1],
            normalize_spacing(f"{sentences[-1]}{comma} {template.format(clause=clause)}"),
        ], True
    template = adverbials.CAMERA_SENTENCES[0] if core or static else pick(rng, adverbials.CAMERA_SENTENCES)
    return [*sentences, template.format(clause=clause)], True
