"""Captions: what is true of a clip, in varied English. Everything said comes from its facts.

`captions(facts)` gives a 'core' caption, plain and predictable and without capitals, as people type
prompts ('a red ball rolls to the left'), and paraphrases from terse to rich.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from kinema.world.captions import manners, places
from kinema.world.captions.grammar import Form, inflect, series, tidy
from kinema.world.captions.nouns import Detail, Names, Register, groups_of, pick
from kinema.world.captions.plan import Beat, beats_of
from kinema.world.captions.realise import Teller
from kinema.world.facts import Caption, ClipFacts

__all__ = ["STYLES", "Style", "captions"]


@dataclass(frozen=True, kw_only=True)
class Style:
    """One way of telling a clip."""

    name: str
    register: Register
    detail: Detail
    whole: bool = True
    longest: int = 9
    form: Form = "finite"
    scene: str = ""
    """Where the setting goes: 'front', 'back', or nowhere."""
    camera: str = "moving"
    """'moving' tells the camera when it moves, 'always' also when it stands, 'never', or 'label'."""
    background: bool = False
    """Whether things behind the scene are told."""
    sentence: bool = True
    """With a capital and a full stop."""


STYLES: tuple[Style, ...] = (
    Style(name="core", register="core", detail="core", whole=False, sentence=False),
    Style(name="full", register="core", detail="core", longest=4),
    Style(name="terse", register="terse", detail="core", camera="never", sentence=False),
    Style(name="simple", register="core", detail="some", longest=1, camera="always"),
    Style(name="plain", register="plain", detail="some", longest=3),
    Style(
        name="rich",
        register="plain",
        detail="full",
        longest=3,
        scene="back",
        camera="always",
        background=True,
    ),
    Style(name="scene", register="plain", detail="full", longest=4, scene="front"),
    Style(name="everyday", register="casual", detail="some", longest=3, camera="moving"),
    Style(name="video of", register="plain", detail="some", longest=3, form="gerund", camera="never"),
    Style(name="shot", register="casual", detail="full", longest=2, scene="front", camera="label"),
)


def captions(facts: ClipFacts) -> tuple[Caption, ...]:
    """All wordings of a clip, 'core' first, no text twice; a pure function of the facts and their seed."""
    told: dict[str, Caption] = {}
    for style in STYLES:
        caption = _caption(facts, style)
        told.setdefault(caption.text, caption)
    return tuple(told.values())


def _caption(facts: ClipFacts, style: Style) -> Caption:
    dice = random.Random(f"{facts.seed} {facts.event} {facts.cause} {style.name}")
    groups = groups_of(facts)
    names = Names(facts=facts, groups=groups, dice=dice, detail=style.detail, register=style.register)
    beats = beats_of(facts, groups)
    if style.register != "core" and len(beats) > 1 and dice.random() < 0.5 and beats[0].kind in _TWINS:
        beats = beats[::-1]
    teller = Teller(names=names, dice=dice, whole=style.whole, longest=style.longest, form=style.form)
    told = teller.tell(_ordered(beats))
    sentences = list(told.sentences)
    claims = set(told.claims)
    sentences = _with_cause(facts, style, sentences, dice)
    sentences = _with_setting(facts, style, sentences, dice)
    if style.background:
        sentences += _background(facts, names, dice)
    camera = next((i for i, claim in enumerate(facts.claims) if claim.kind == "camera"), None)
    sentences, said = _with_camera(facts, style, sentences, dice)
    if said and camera is not None:
        claims.add(camera)
    if style.form == "gerund":
        sentences[0] = pick(dice, manners.FILM_OF).format(noun=sentences[0])
    elif style.name == "everyday" and dice.random() < 0.3:
        sentences[0] = pick(dice, manners.EVERYDAY_OPENINGS).format(sentence=sentences[0])
    if style.sentence:
        text = " ".join(_capital(sentence) + "." for sentence in sentences)
    else:
        text = ", ".join(sentences)
    return Caption(style=style.name, text=text, claims=tuple(sorted(claims)))


_TWINS = {"left of": "right of", "right of": "left of"}


def _ordered(beats: list[Beat]) -> list[Beat]:
    """'a is left of b' and 'b is right of a' say the same: one of them is enough."""
    kept: list[Beat] = []
    for beat in beats:
        twin = _TWINS.get(beat.kind)
        if twin and any(
            b.kind == twin and b.subject == beat.object and b.object == beat.subject for b in kept
        ):
            continue
        kept.append(beat)
    return kept


def _capital(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]


def _with_cause(facts: ClipFacts, style: Style, sentences: list[str], dice: random.Random) -> list[str]:
    """'because there is no wall', behind the last sentence."""
    if facts.cause not in ("no wall",) or style.register == "terse" or not sentences:
        return sentences
    reasons = manners.BECAUSE[facts.cause]
    reason = reasons[0] if style.register == "core" else pick(dice, reasons)
    return [*sentences[:-1], f"{sentences[-1]} {reason}"]


def _with_setting(facts: ClipFacts, style: Style, sentences: list[str], dice: random.Random) -> list[str]:
    if not style.scene or not sentences:
        return sentences
    sky = places.sky_phrases(facts.setting)
    floor = places.floor_phrases(facts.setting)
    decor = places.decor_phrases(facts.setting)
    parts = [pick(dice, options) for options in (sky, floor, decor) if options]
    if not parts:
        return sentences
    if style.scene == "front":
        told = parts[: 1 if len(parts) < 2 or dice.random() < 0.4 else 2]
        dice.shuffle(told)
        return [f"{', '.join(told)}, {sentences[0]}", *sentences[1:]]
    verb = pick(dice, manners.SCENE_IS_SET)
    return [*sentences, f"{verb} {', '.join(parts)}"]


def _background(facts: ClipFacts, names: Names, dice: random.Random) -> list[str]:
    behind = [
        entity
        for entity in facts.entities
        if entity.role == "background" and entity.named and facts.tracks.pixels[:, entity.index].max() > 30
    ]
    if not behind:
        return []
    things = series([names.mention(entity.index) for entity in behind])
    return [inflect(pick(dice, manners.BACKGROUND).format(things=things), plural=len(behind) > 1)]


def _with_camera(
    facts: ClipFacts, style: Style, sentences: list[str], dice: random.Random
) -> tuple[list[str], bool]:
    still = facts.camera == "static"
    if style.camera == "never" or (style.camera == "moving" and still and facts.event != "camera"):
        return sentences, False
    words = manners.CAMERAS[facts.camera]
    core = style.register == "core"
    if style.camera == "label":
        label = pick(dice, words.label)
        return [
            pick(dice, manners.CAMERA_LABELS).format(
                label=label, sentence=sentences[0], capital=_capital(sentences[0])
            ),
            *sentences[1:],
        ], True
    options = words.casual if style.register == "casual" else words.plain
    clause = inflect(words.core if core else pick(dice, options), plural=False)
    if style.name == "core" or (not core and not still and len(sentences) == 1 and dice.random() < 0.5):
        tie = manners.CAMERA_CLAUSES[0] if core else pick(dice, manners.CAMERA_CLAUSES)
        comma = "," if "," in sentences[-1] else ""
        return [*sentences[:-1], tidy(f"{sentences[-1]}{comma} {tie.format(clause=clause)}")], True
    told = manners.CAMERA_SENTENCES[0] if core or still else pick(dice, manners.CAMERA_SENTENCES)
    return [*sentences, told.format(clause=clause)], True
