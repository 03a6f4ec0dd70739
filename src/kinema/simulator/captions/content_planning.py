"""From claims to beats: what is said together, what waits, what goes without saying."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from kinema.simulator.annotations import Claim, ClaimKind, ClipAnnotations
from kinema.simulator.captions.referring_expressions import EntityRef, Group

TAKES_SPEED_ADVERB = ("moves", "slides down", "spins", "swings", "circles")
"""Kinds whose wording has room for a speed."""

_FALL_ENDINGS = ("falls in", "hits")
CONSEQUENCES = ("speed", "pushed", "stays", "bounces back")


@dataclass(frozen=True, kw_only=True)
class Message:
    """One thing to say: a claim, together with those that melt into it."""

    kind: ClaimKind | Literal["exists"]
    subject: EntityRef | None
    object: EntityRef | None = None
    value: str = ""
    claims: tuple[int, ...] = ()
    speed: str = ""
    speed_claim: int | None = None
    number: int | None = None
    """How many fell, of a group that has `group_size`."""
    group_size: int = 0
    left_to_right: tuple[EntityRef, ...] = ()
    """From left to right, where a claim of a row or a middle gathers the others."""
    includes_fall: bool = False
    """The fall that ends in it is part of what is said."""
    follows_previous: bool = False
    """It follows from the one before, as the second hit of a chain from the first."""
    is_consequence: bool = False
    """A consequence, not the event itself: 'core' captions leave it out."""


def _claim_subject(claim: Claim) -> EntityRef | None:
    return claim.subject if claim.subject is not None else claim.group


def _claim_object(claim: Claim) -> EntityRef | None:
    if claim.object is not None:
        return claim.object
    return claim.group if claim.subject is not None else None


def _resolve_group(
    annotations: ClipAnnotations, groups: dict[str, Group], ref: EntityRef | None
) -> EntityRef | None:
    """The group in place of one of its members: a ball hits 'the tower', not its third block."""
    if isinstance(ref, int):
        entity = annotations.entities[ref]
        if entity.group in groups:
            return entity.group
    return ref


def plan_messages(annotations: ClipAnnotations, groups: dict[str, Group]) -> list[Message]:
    """The beats of a clip in their order, without the camera's."""
    row = _plan_row(annotations)
    beats: list[Message] = [row] if row else []
    counts: list[tuple[int, Claim]] = []
    for index, claim in enumerate(annotations.claims):
        subject, thing = (
            _resolve_group(annotations, groups, _claim_subject(claim)),
            _resolve_group(annotations, groups, _claim_object(claim)),
        )
        if claim.kind == "camera" or (row and index in row.claims):
            continue
        if claim.kind == "count":
            counts.append((index, claim))
            continue
        if claim.kind == "speed":
            place = next(
                (
                    i
                    for i, beat in enumerate(beats)
                    if beat.subject == subject and beat.kind in TAKES_SPEED_ADVERB
                ),
                None,
            )
            if place is not None:
                beats[place] = replace(beats[place], speed=claim.value, speed_claim=index)
                continue
        beat = Message(kind=claim.kind, subject=subject, object=thing, value=claim.value, claims=(index,))
        if claim.kind == "pushed" and thing is None:
            # The thing that moves stands as subject; it is told as the deed of what hit it.
            hit = next((b for b in reversed(beats) if b.kind == "hits" and b.object == subject), None)
            if hit is not None:
                beat = replace(beat, subject=hit.subject, object=subject)
        if claim.kind == "fallen" and claim.value.isdecimal():
            group = claim.group or ""
            beat = replace(
                beat,
                subject=group,
                object=None,
                number=int(claim.value),
                group_size=groups[group].number if group in groups else 0,
            )
            if beats and beats[-1].kind == "chain stops":
                beats[-1] = replace(
                    beats[-1],
                    number=beat.number,
                    group_size=beat.group_size,
                    claims=(*beats[-1].claims, index),
                )
                continue
        if claim.kind == "chain stops" and beats and beats[-1].kind == "fallen":
            beat = replace(
                beat,
                number=beats[-1].number,
                group_size=beats[-1].group_size,
                claims=(*beats[-1].claims, index),
            )
            beats.pop()
        if beat.kind == "rests on" and beats and beats[-1].kind == "stops" and beats[-1].subject == subject:
            beats[-1] = replace(
                beats[-1], object=thing, claims=(*beats[-1].claims, index), is_consequence=False
            )
            continue
        if (
            beats
            and beats[-1].kind == "falls"
            and beats[-1].subject == subject
            and claim.kind in _FALL_ENDINGS
        ):
            # 'Falls down and falls into a box' says it twice.
            beats[-1] = replace(beat, claims=(*beats[-1].claims, index), includes_fall=True)
            continue
        after_hit = any(earlier.kind == "hits" for earlier in beats)
        minor = claim.kind in CONSEQUENCES or (claim.kind == "stops" and after_hit)
        beats.append(replace(beat, is_consequence=minor))
    beats = _merge_hit_chains(beats)
    spoken = {beat.subject for beat in beats} | {beat.object for beat in beats}
    for index, claim in counts:
        if claim.group not in spoken and claim.group is not None:
            beats.append(Message(kind="count", subject=claim.group, value=claim.value, claims=(index,)))
    told = [beat for beat in beats if beat.kind == "count"]
    if len(told) > 1:
        # 'Three red cubes and two blue balls stand on the ground.'
        order = tuple(beat.subject for beat in told if beat.subject is not None)
        claims = tuple(claim for beat in told for claim in beat.claims)
        beats = [beat for beat in beats if beat.kind != "count"]
        beats.append(Message(kind="exists", subject=order[0], left_to_right=order, claims=claims))
    if len(beats) == 1 and beats[0].kind == "stays" and beats[0].subject in groups:
        beats = [replace(beats[0], kind="count", claims=(*beats[0].claims, *(index for index, _ in counts)))]
    if not beats:
        shown = [e.index for e in annotations.entities if e.named and e.role in ("main", "partner")]
        shown.sort(key=lambda index: float(annotations.tracks.screen[0, index, 0]))
        beats.append(Message(kind="exists", subject=shown[0] if shown else None, left_to_right=tuple(shown)))
    return beats


def _merge_hit_chains(messages: list[Message]) -> list[Message]:
    """'a hits b, pushing it left; b hits c' becomes 'a hits b, which then hits c'."""
    kept: list[Message] = []
    for beat in messages:
        before = kept[-1] if kept else None
        if beat.kind == "hits" and before and before.kind == "pushed" and before.object == beat.subject:
            kept[-1] = replace(beat, follows_previous=True)
        elif beat.kind == "hits" and before and before.kind == "hits" and before.object == beat.subject:
            kept.append(replace(beat, follows_previous=True))
        else:
            kept.append(beat)
    return kept


def _plan_row(annotations: ClipAnnotations) -> Message | None:
    """The claims of an arrangement of three or more things as one beat, if they fix their order."""
    whole = next(
        (i for i, claim in enumerate(annotations.claims) if claim.kind in ("in a row", "middle")), None
    )
    pairs = [
        (i, claim.subject, claim.object)
        for i, claim in enumerate(annotations.claims)
        if claim.kind == "left of" and claim.subject is not None and claim.object is not None
    ]
    if (
        whole is None
        or len(pairs) < 2
        or any(first[2] != second[1] for first, second in itertools.pairwise(pairs))
    ):
        return None
    order = (pairs[0][1], *(pair[2] for pair in pairs))
    claims = (whole, *(i for i, _, _ in pairs))
    return Message(kind=annotations.claims[whole].kind, subject=order[0], left_to_right=order, claims=claims)


def classify_group_motion(annotations: ClipAnnotations, group: Group) -> str:
    """How the members of a group travel, if they all do alike."""
    manners = {classify_motion(annotations, member.index) for member in group.members}
    return manners.pop() if len(manners) == 1 else "move"


def classify_motion(annotations: ClipAnnotations, index: int) -> str:
    """How a thing travels up to the event, by how it turns: 'roll', 'drive', 'slide', 'tumble' or 'move'."""
    shape = annotations.entities[index].shape
    if shape == "ball":
        return "roll"
    if shape == "car":
        return "drive"
    end = max(4, annotations.event_frame + 1)
    rotation = annotations.tracks.rotation[:end, index]
    turned = np.einsum("fij,fij->f", rotation[1:], rotation[:-1])
    angle = float(np.arccos(np.clip((turned - 1) / 2, -1, 1)).sum())
    lowest = float(annotations.tracks.upright[:end, index].min())
    way = float(np.linalg.norm(np.diff(annotations.tracks.position[:end, index], axis=0), axis=1).sum())
    if angle < 0.6 or angle < 0.35 * way:
        return "slide"
    if shape in ("egg", "ring", "cylinder", "capsule", "disc") and angle > 1.5:
        return "roll"
    if lowest < 0.3:
        return "tumble" if angle > 2.5 else "move"
    return "slide" if lowest > 0.9 else "move"


def is_flung(annotations: ClipAnnotations, index: int) -> bool:
    """Whether a thing was ever faster than 1.6 metres a second."""
    return bool(np.linalg.norm(annotations.tracks.velocity[:, index], axis=1).max() > 1.6)


def gap_stops_chain(annotations: ClipAnnotations, group: Group) -> bool:
    """Whether the row of dominoes has one gap much wider than the others, behind the last that fell."""
    members = [member.index for member in group.members]
    along = annotations.tracks.position[0, members, 0]
    order = np.argsort(along)
    gaps = np.diff(along[order])
    if len(gaps) < 2 or gaps.max() < 1.5 * float(np.median(gaps)):
        return False
    fell = annotations.tracks.upright[-1, members][order] < 0.8
    wide = int(gaps.argmax())
    return bool(fell[wide] != fell[wide + 1])
