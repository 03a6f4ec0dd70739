"""Content planning: from a clip's claims to messages, merged and ordered for wording."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from kinema.simulator.annotations import Claim, ClaimKind, ClipAnnotations
from kinema.simulator.captions.referring_expressions import EntityRef, Group

TAKES_SPEED_ADVERB = ("moves", "slides down", "spins", "swings", "circles")
"""Claim kinds whose templates have a slot for a speed adverb."""

_FALL_ENDINGS = ("falls in", "hits")
CONSEQUENCES = ("speed", "pushed", "stays", "bounces back")


@dataclass(frozen=True, kw_only=True)
class Message:
    """One unit of content: a claim together with the claims merged into it."""

    kind: ClaimKind | Literal["exists"]
    subject: EntityRef | None
    object: EntityRef | None = None
    value: str = ""
    claims: tuple[int, ...] = ()
    speed: str = ""
    speed_claim: int | None = None
    number: int | None = None
    """How many of the `group_size` members of a group fell."""
    group_size: int = 0
    left_to_right: tuple[EntityRef, ...] = ()
    """The arranged entities from left to right, for a message that describes an arrangement."""
    includes_fall: bool = False
    """Whether the message includes the fall that leads to it."""
    follows_previous: bool = False
    """Whether it results from the previous message, like the second hit of a chain."""
    is_consequence: bool = False
    """Whether it is a consequence of the event, not the event itself; 'core' captions omit it."""


def _claim_subject(claim: Claim) -> EntityRef | None:
    return claim.subject if claim.subject is not None else claim.group


def _claim_object(claim: Claim) -> EntityRef | None:
    if claim.object is not None:
        return claim.object
    return claim.group if claim.subject is not None else None


def _resolve_group(
    annotations: ClipAnnotations, groups: dict[str, Group], ref: EntityRef | None
) -> EntityRef | None:
    """Replace a member by its group: a ball hits 'the tower', not its third block."""
    if isinstance(ref, int):
        entity = annotations.entities[ref]
        if entity.group in groups:
            return entity.group
    return ref


def plan_messages(annotations: ClipAnnotations, groups: dict[str, Group]) -> list[Message]:
    """Plan the messages of a clip, in order. The camera claim is not included."""
    row = _plan_row(annotations)
    messages: list[Message] = [row] if row else []
    counts: list[tuple[int, Claim]] = []
    for index, claim in enumerate(annotations.claims):
        subject, object_ref = (
            _resolve_group(annotations, groups, _claim_subject(claim)),
            _resolve_group(annotations, groups, _claim_object(claim)),
        )
        if claim.kind == "camera" or (row and index in row.claims):
            continue
        if claim.kind == "count":
            counts.append((index, claim))
            continue
        if claim.kind == "speed":
            position = next(
                (
                    i
                    for i, message in enumerate(messages)
                    if message.subject == subject and message.kind in TAKES_SPEED_ADVERB
                ),
                None,
            )
            if position is not None:
                messages[position] = replace(messages[position], speed=claim.value, speed_claim=index)
                continue
        message = Message(
            kind=claim.kind, subject=subject, object=object_ref, value=claim.value, claims=(index,)
        )
        if claim.kind == "pushed" and object_ref is None:
            # The claim's subject is the object that moves; the message names what hit it as the subject.
            hit_message = next(
                (b for b in reversed(messages) if b.kind == "hits" and b.object == subject), None
            )
            if hit_message is not None:
                message = replace(message, subject=hit_message.subject, object=subject)
        if claim.kind == "fallen" and claim.value.isdecimal():
            group = claim.group or ""
            message = replace(
                message,
                subject=group,
                object=None,
                number=int(claim.value),
                group_size=groups[group].number if group in groups else 0,
            )
            if messages and messages[-1].kind == "chain stops":
                messages[-1] = replace(
                    messages[-1],
                    number=message.number,
                    group_size=message.group_size,
                    claims=(*messages[-1].claims, index),
                )
                continue
        if claim.kind == "chain stops" and messages and messages[-1].kind == "fallen":
            message = replace(
                message,
                number=messages[-1].number,
                group_size=messages[-1].group_size,
                claims=(*messages[-1].claims, index),
            )
            messages.pop()
        if (
            message.kind == "rests on"
            and messages
            and messages[-1].kind == "stops"
            and messages[-1].subject == subject
        ):
            messages[-1] = replace(
                messages[-1], object=object_ref, claims=(*messages[-1].claims, index), is_consequence=False
            )
            continue
        if (
            messages
            and messages[-1].kind == "falls"
            and messages[-1].subject == subject
            and claim.kind in _FALL_ENDINGS
        ):
            # Avoid 'falls down and falls into a box'.
            messages[-1] = replace(message, claims=(*messages[-1].claims, index), includes_fall=True)
            continue
        follows_hit = any(earlier.kind == "hits" for earlier in messages)
        is_consequence = claim.kind in CONSEQUENCES or (claim.kind == "stops" and follows_hit)
        messages.append(replace(message, is_consequence=is_consequence))
    messages = _merge_hit_chains(messages)
    mentioned = {message.subject for message in messages} | {message.object for message in messages}
    for index, claim in counts:
        if claim.group not in mentioned and claim.group is not None:
            messages.append(Message(kind="count", subject=claim.group, value=claim.value, claims=(index,)))
    count_messages = [message for message in messages if message.kind == "count"]
    if len(count_messages) > 1:
        # 'Three red cubes and two blue balls stand on the ground.'
        order = tuple(message.subject for message in count_messages if message.subject is not None)
        claims = tuple(claim for message in count_messages for claim in message.claims)
        messages = [message for message in messages if message.kind != "count"]
        messages.append(Message(kind="exists", subject=order[0], left_to_right=order, claims=claims))
    if len(messages) == 1 and messages[0].kind == "stays" and messages[0].subject in groups:
        messages = [
            replace(messages[0], kind="count", claims=(*messages[0].claims, *(index for index, _ in counts)))
        ]
    if not messages:
        shown = [e.index for e in annotations.entities if e.named and e.role in ("main", "partner")]
        shown.sort(key=lambda index: float(annotations.tracks.screen[0, index, 0]))
        messages.append(
            Message(kind="exists", subject=shown[0] if shown else None, left_to_right=tuple(shown))
        )
    return messages


def _merge_hit_chains(messages: list[Message]) -> list[Message]:
    """Merge 'a hits b, pushing it left; b hits c' into 'a hits b, which then hits c'."""
    kept: list[Message] = []
    for message in messages:
        before = kept[-1] if kept else None
        if message.kind == "hits" and before and before.kind == "pushed" and before.object == message.subject:
            kept[-1] = replace(message, follows_previous=True)
        elif message.kind == "hits" and before and before.kind == "hits" and before.object == message.subject:
            kept.append(replace(message, follows_previous=True))
        else:
            kept.append(message)
    return kept


def _plan_row(annotations: ClipAnnotations) -> Message | None:
    """One message for the arrangement of three or more objects, or None if their order is not fixed."""
    arrangement = next(
        (i for i, claim in enumerate(annotations.claims) if claim.kind in ("in a row", "middle")), None
    )
    pairs = [
        (i, claim.subject, claim.object)
        for i, claim in enumerate(annotations.claims)
        if claim.kind == "left of" and claim.subject is not None and claim.object is not None
    ]
    if (
        arrangement is None
        or len(pairs) < 2
        or any(first[2] != second[1] for first, second in itertools.pairwise(pairs))
    ):
        return None
    order = (pairs[0][1], *(pair[2] for pair in pairs))
    claims = (arrangement, *(i for i, _, _ in pairs))
    return Message(
        kind=annotations.claims[arrangement].kind, subject=order[0], left_to_right=order, claims=claims
    )


def classify_group_motion(annotations: ClipAnnotations, group: Group) -> str:
    """The manner of motion shared by all members of a group, else 'move'."""
    manners = {classify_motion(annotations, member.index) for member in group.members}
    return manners.pop() if len(manners) == 1 else "move"


def classify_motion(annotations: ClipAnnotations, index: int) -> str:
    """Classify the motion of an entity up to the event by its rotation.

    Returns:
        'roll', 'drive', 'slide', 'tumble' or 'move'.
    """
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
    path_length = float(
        np.linalg.norm(np.diff(annotations.tracks.position[:end, index], axis=0), axis=1).sum()
    )
    if angle < 0.6 or angle < 0.35 * path_length:
        return "slide"
    if shape in ("egg", "ring", "cylinder", "capsule", "disc") and angle > 1.5:
        return "roll"
    if lowest < 0.3:
        return "tumble" if angle > 2.5 else "move"
    return "slide" if lowest > 0.9 else "move"


def is_flung(annotations: ClipAnnotations, index: int) -> bool:
    """Whether an entity was ever faster than 1.6 metres per second."""
    return bool(np.linalg.norm(annotations.tracks.velocity[:, index], axis=1).max() > 1.6)


def gap_stops_chain(annotations: ClipAnnotations, group: Group) -> bool:
    """Whether the chain of dominoes ends at a gap much wider than the others."""
    members = [member.index for member in group.members]
    along = annotations.tracks.position[0, members, 0]
    order = np.argsort(along)
    gaps = np.diff(along[order])
    if len(gaps) < 2 or gaps.max() < 1.5 * float(np.median(gaps)):
        return False
    fallen = annotations.tracks.upright[-1, members][order] < 0.8
    widest = int(gaps.argmax())
    return bool(fallen[widest] != fallen[widest + 1])
