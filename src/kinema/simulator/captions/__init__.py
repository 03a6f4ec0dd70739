"""Captions: what is true of a clip, in varied English. Everything said comes from its facts.

`generate_captions(facts)` gives a 'core' caption, plain and predictable and without capitals, as people type
prompts ('a red ball rolls to the left'), and paraphrases from terse to rich.
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
    """One way of telling a clip."""

    name: str
    register: Register
    detail: Detail
    with_consequences: bool = True
    max_messages_per_sentence: int = 9
    form: VerbForm = "finite"
    setting_position: str = ""
    """Where the setting goes: 'front', 'back', or nowhere."""
    camera: str = "moving"
    """'moving' tells the camera when it moves, 'always' also when it stands, 'never', or 'label'."""
    background: bool = False
    """Whether things behind the scene are told."""
    as_sentences: bool = True
    """With a capital and a full stop."""


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
        setting_position="back",
        camera="always",
        background=True,
    ),
    CaptionStyle(
        name="scene", register="plain", detail="full", max_messages_per_sentence=4, setting_position="front"
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
        setting_position="front",
        camera="label",
    ),
)


def generate_captions(facts: ClipAnnotations) -> tuple[Caption, ...]:
    """All wordings of a clip, 'core' first, no text twice; a pure function of the facts and their seed."""
    told: dict[str, Caption] = {}
    for style in STYLES:
        caption = _write_caption(facts, style)
        told.setdefault(caption.text, caption)
    return tuple(told.values())


def _write_caption(facts: ClipAnnotations, style: CaptionStyle) -> Caption:
    dice = random.Random(f"{facts.seed} {facts.event} {facts.cause} {style.name}")
    groups = collect_groups(facts)
    names = ReferenceTracker(
        facts=facts, groups=groups, rng=dice, detail=style.detail, register=style.register
    )
    beats = plan_messages(facts, groups)
    if style.register != "core" and len(beats) > 1 and dice.random() < 0.5 and beats[0].kind in _CONVERSES:
        beats = beats[::-1]
    teller = Realizer(
        references=names,
        rng=dice,
        with_consequences=style.with_consequences,
        max_messages_per_sentence=style.max_messages_per_sentence,
        form=style.form,
    )
    told = teller.realize(_drop_converse_duplicates(beats))
    sentences = list(told.sentences)
    claims = set(told.claims)
    sentences = _append_cause(facts, style, sentences, dice)
    sentences = _add_setting(facts, style, sentences, dice)
    if style.background:
        sentences += _background_sentences(facts, names, dice)
    camera = next((i for i, claim in enumerate(facts.claims) if claim.kind == "camera"), None)
    sentences, said = _add_camera(facts, style, sentences, dice)
    if said and camera is not None:
        claims.add(camera)
    if style.form == "gerund":
        sentences[0] = pick(dice, adverbials.VIDEO_OF).format(noun=sentences[0])
    elif style.name == "everyday" and dice.random() < 0.3:
        sentences[0] = pick(dice, adverbials.EVERYDAY_OPENINGS).format(sentence=sentences[0])
    if style.as_sentences:
        text = " ".join(_capitalize(sentence) + "." for sentence in sentences)
    else:
        text = ", ".join(sentences)
    return Caption(style=style.name, text=text, claims=tuple(sorted(claims)))


_CONVERSES = {"left of": "right of", "right of": "left of"}


def _drop_converse_duplicates(messages: list[Message]) -> list[Message]:
    """'a is left of b' and 'b is right of a' say the same: one of them is enough."""
    kept: list[Message] = []
    for beat in messages:
        twin = _CONVERSES.get(beat.kind)
        if twin and any(
            b.kind == twin and b.subject == beat.object and b.object == beat.subject for b in kept
        ):
            continue
        kept.append(beat)
    return kept


def _capitalize(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]


def _append_cause(
    facts: ClipAnnotations, style: CaptionStyle, sentences: list[str], rng: random.Random
) -> list[str]:
    """'because there is no wall', behind the last sentence."""
    if facts.cause not in ("no wall",) or style.register == "terse" or not sentences:
        return sentences
    reasons = adverbials.CAUSE_CLAUSES[facts.cause]
    reason = reasons[0] if style.register == "core" else pick(rng, reasons)
    return [*sentences[:-1], f"{sentences[-1]} {reason}"]


def _add_setting(
    facts: ClipAnnotations, style: CaptionStyle, sentences: list[str], rng: random.Random
) -> list[str]:
    if not style.setting_position or not sentences:
        return sentences
    sky = environment_phrases.sky_phrases(facts.environment)
    floor = environment_phrases.floor_phrases(facts.environment)
    decor = environment_phrases.decor_phrases(facts.environment)
    parts = [pick(rng, options) for options in (sky, floor, decor) if options]
    if not parts:
        return sentences
    if style.setting_position == "front":
        told = parts[: 1 if len(parts) < 2 or rng.random() < 0.4 else 2]
        rng.shuffle(told)
        return [f"{', '.join(told)}, {sentences[0]}", *sentences[1:]]
    verb = pick(rng, adverbials.SETTING_OPENINGS)
    return [*sentences, f"{verb} {', '.join(parts)}"]


def _background_sentences(
    facts: ClipAnnotations, references: ReferenceTracker, rng: random.Random
) -> list[str]:
    behind = [
        entity
        for entity in facts.entities
        if entity.role == "background" and entity.named and facts.tracks.pixels[:, entity.index].max() > 30
    ]
    if not behind:
        return []
    things = join_list([references.mention(entity.index) for entity in behind])
    return [inflect(pick(rng, adverbials.BACKGROUND_TEMPLATES).format(things=things), plural=len(behind) > 1)]


def _add_camera(
    facts: ClipAnnotations, style: CaptionStyle, sentences: list[str], rng: random.Random
) -> tuple[list[str], bool]:
    still = facts.camera == "static"
    if style.camera == "never" or (style.camera == "moving" and still and facts.event != "camera"):
        return sentences, False
    words = adverbials.CAMERA_PHRASES[facts.camera]
    core = style.register == "core"
    if style.camera == "label":
        label = pick(rng, words.label)
        return [
            pick(rng, adverbials.CAMERA_LABELS).format(
                label=label, sentence=sentences[0], capital=_capitalize(sentences[0])
            ),
            *sentences[1:],
        ], True
    options = words.casual if style.register == "casual" else words.plain
    clause = inflect(words.core if core else pick(rng, options), plural=False)
    if style.name == "core" or (not core and not still and len(sentences) == 1 and rng.random() < 0.5):
        tie = adverbials.CAMERA_CLAUSES[0] if core else pick(rng, adverbials.CAMERA_CLAUSES)
        comma = "," if "," in sentences[-1] else ""
        return [
            *sentences[:-1],
            normalize_spacing(f"{sentences[-1]}{comma} {tie.format(clause=clause)}"),
        ], True
    told = adverbials.CAMERA_SENTENCES[0] if core or still else pick(rng, adverbials.CAMERA_SENTENCES)
    return [*sentences, told.format(clause=clause)], True
