"""Choosing a scene: first what shall happen, then scenes until it does, then a camera that shows it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from kinema.errors import UserError, did_you_mean
from kinema.simulator.events import EVENT_TYPES, EVENT_WEIGHTS, LAB_EVENT_WEIGHTS
from kinema.simulator.events.event_checks import background_has_contact
from kinema.world import lab, screen
from kinema.world.bodies import Solid
from kinema.world.cameras import AMOUNTS, Framing, Shot, extents, framed, path
from kinema.world.entities import Entity, mirrored
from kinema.world.facts import PAIRED, CameraMove, Claim, Event
from kinema.world.physics import Trajectory, simulate
from kinema.world.solids import solid_of
from kinema.world.spec import ClipSpec
from kinema.world.stage import EventKind, Proposal, Stage, Verdict

TRIES = 40
"""Simulations before a wish is given up; on average it takes fewer than two."""
_PROPOSALS = 2000
"""Proposals before a held-out combination is given up; they cost no simulation."""
_NEAR = 1.8
"""Metres from the middle of the scene within which things are kept in view."""
_AFTER = 1.0
"""Seconds after the event for which what moves on is followed."""
_TOLD_AT_THE_END = {
    "stops", "short of", "lands on", "falls beside", "falls in", "bounces", "bounces back", "rests on",
    "stays", "stands", "tips over", "spins", "circles", "swings", "thrown",
    "re-emerges", "in front", "stays hidden",
}  # fmt: skip
SMALLEST = 7.0 / 128
"""Share of the picture that the smallest named thing must span, with a pixel to spare at 128."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawn:
    """One scene that did what was wanted, before it is rendered."""

    event: Event
    outcome: str
    entities: tuple[Entity, ...]
    solids: tuple[Solid, ...]
    seen: Trajectory
    verdict: Verdict
    shot: Shot
    cameras: Float[np.ndarray, "f 13"]
    event_frame: int
    unseen: frozenset[int]
    """Background things that are not worth naming from this camera."""
    attempt: int
    """Which attempt it was."""
    tries: int
    """Simulations it took."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Take:
    """One simulated variant of a proposal."""

    proposal: Proposal
    solids: tuple[Solid, ...]
    seen: Trajectory
    verdict: Verdict
    shapes: screen.Outlines
    event_frame: int


def _spread(seed: int) -> float:
    """A number in 0..1 that consecutive seeds spread evenly (the Kronecker sequence of the golden ratio)."""
    return (seed * 0x9E3779B97F4A7C15 % 2**64) / 2**64


def _chosen(spec: ClipSpec) -> tuple[EventKind, str]:
    """The event and the outcome to aim for, from the seed or from the spec.

    One evenly spread number picks both, so that a thousand clips hold very nearly as much of each as
    their weights say, not only on average.
    """
    table = LAB_EVENT_WEIGHTS if spec.lab else EVENT_WEIGHTS
    names, weights = tuple(table), np.array(tuple(table.values()))
    place = _spread(spec.seed)
    if spec.event is None:
        ends = np.cumsum(weights) / weights.sum()
        drawn_event = min(int(np.searchsorted(ends, place, side="right")), len(names) - 1)
        below = float(ends[drawn_event - 1]) if drawn_event else 0.0
        place = (place - below) / float(ends[drawn_event] - below)
        event = names[drawn_event]
    else:
        event = spec.event
    if event not in names:
        set_name = "the lab" if spec.lab else "the film set"
        raise UserError(
            f"{event!r} is no event of {set_name}{did_you_mean(event, names)}; choose one of: {', '.join(names)}"
        )
    kind = EVENT_TYPES[event]
    options = lab.outcomes(kind) if spec.lab else kind.outcomes
    outcome = spec.outcome or options[min(int(place * len(options)), len(options) - 1)]
    if outcome not in options:
        raise UserError(
            f"{outcome!r} is no outcome of {event!r}{did_you_mean(outcome, options)}; "
            f"choose one of: {', '.join(options)}"
        )
    return kind, outcome


def _proposed(spec: ClipSpec, kind: EventKind, wanted: str, attempt: int) -> Proposal:
    """The first proposal of this attempt whose combination the split allows."""
    for k in range(_PROPOSALS):
        # One stream of random numbers for each proposal: the variants of a pair draw the same numbers.
        rng = np.random.default_rng([spec.seed, 1, attempt, k])
        proposal = kind.propose(Stage(rng, lab=spec.lab, frames=spec.frames, fps=spec.fps), wanted)
        if spec.split == "all" or not spec.lab:
            break
        held = lab.held_out(lab.combination(kind.name, proposal))
        if held == (spec.split == "test"):
            break
    else:
        raise UserError(
            f"no combination of {kind.name!r} with the outcome {wanted!r} is in the {spec.split} split; "
            "leave the outcome or the event open"
        )
    return proposal


def _swapped(spec: ClipSpec, proposal: Proposal, seen: Trajectory) -> tuple[Proposal, Trajectory]:
    """The minimal pair of a simulated scene.

    Colours weigh nothing and the laws of motion know no left and right, so what was simulated holds for
    the pair too, and the two clips can't drift apart.
    """
    if spec.swap == "colours":
        return replace(proposal, entities=lab.colours_swapped(proposal.entities)), seen
    if spec.swap == "sides":
        return replace(proposal, entities=tuple(mirrored(e) for e in proposal.entities)), seen.mirrored()
    return proposal, seen


def _taken(spec: ClipSpec, kind: EventKind, wanted: str, attempt: int) -> _Take | None:
    """Simulate one proposal; None unless the wanted outcome is what happened."""
    proposal = _proposed(spec, kind, wanted, attempt)
    solids = tuple(solid_of(entity) for entity in proposal.entities)
    seen = simulate(proposal.entities, solids, frames=spec.frames, fps=spec.fps)
    verdict = kind.judge(proposal, seen)
    background = {k for k, e in enumerate(proposal.entities) if e.role == "background"}
    if verdict is None or verdict.outcome != wanted or background_has_contact(seen, background):
        return None
    if spec.swap:
        proposal, seen = _swapped(spec, proposal, seen)
        # The solids carry the colours into the picture.
        solids = tuple(solid_of(entity) for entity in proposal.entities)
        verdict = kind.judge(proposal, seen) or verdict
    return _Take(
        proposal=proposal,
        solids=solids,
        seen=seen,
        verdict=verdict,
        shapes=screen.outlines(solids, seen),
        event_frame=min(spec.frames - 1, max(0, int(np.ceil(verdict.frame)))),
    )


def _watched(take: _Take, fps: float, lab_clip: bool) -> Bool[np.ndarray, "f p"]:
    """Which outline points must be in view in which frames.

    Everything that takes part, from the first frame until shortly after the event; to the end where the
    end is what is told; and never farther out than a few metres, or the rest would become too small.
    """
    frames = take.seen.frames
    watched = np.zeros((frames, take.shapes.points.shape[1]), dtype=bool)
    spans = {w.entity: w for w in take.verdict.watch}
    ends = {claim.subject for claim in take.verdict.claims if claim.kind in _TOLD_AT_THE_END}
    start = np.array([e.position for e in take.proposal.entities if e.role != "background"])
    middle = (start.min(axis=0) + start.max(axis=0)) / 2
    for index, entity in enumerate(take.proposal.entities):
        if entity.role == "background" or not (entity.named or entity.group):
            continue
        when = np.zeros(frames, dtype=bool)
        if index in spans:
            when[spans[index].first : spans[index].last + 1] = True
        else:
            way = take.seen.position[:, index] - middle
            wide = (1.5 if lab_clip else _NEAR) * (1.7 if index in ends else 1.0)
            near = (np.abs(way[:, 0]) < wide) & (np.abs(way[:, 1]) < _NEAR + 0.4) & (way[:, 2] < 3.0)
            last = frames if index in ends or entity.group else take.event_frame + round(_AFTER * fps)
            # Once it has gone far it need not be followed, not even if it should come back.
            when[:last] = np.logical_and.accumulate(near)[:last]
            when[take.event_frame] = True
        watched[:, take.shapes.slices[index]] = when[:, None]
    return watched


def _shows(take: _Take, cameras: Float[np.ndarray, "f 13"], aspect: float) -> frozenset[int] | None:
    """The background things that can't be named, if everything else is as the verdict says; else None."""
    view = screen.sight(cameras, take.shapes, take.seen, aspect)
    entities, seen, claims = take.proposal.entities, take.seen, take.verdict.claims
    if not all(screen.claim_shows(c, view, entities, seen, take.event_frame) for c in claims):
        return None
    if not _hiding_shows(take, cameras):
        return None
    unseen = set()
    for index, entity in enumerate(take.proposal.entities):
        if not entity.named:
            continue
        box = view.box[take.event_frame, index]
        small = max((box[2] - box[0]) * aspect, box[3] - box[1]) < SMALLEST
        if entity.role == "background":
            whole = screen.in_view(view.box[:, index]).mean() > 0.6
            if small or not whole or not screen.in_view(box):
                unseen.add(index)
        elif small:
            return None
    return frozenset(unseen)


def _hiding_shows(take: _Take, cameras: Float[np.ndarray, "f 13"]) -> bool:
    """Whether hiding claims hold for outline points; the id buffer is asked again after rendering."""
    kinds: dict[str, Claim] = {c.kind: c for c in take.verdict.claims}
    claim = kinds.get("hides") or kinds.get("in front")
    if claim is None or claim.subject is None or claim.object is None:
        return True
    points = take.shapes.points[:, take.shapes.slices[claim.subject]]
    share = screen.covered(cameras, points, take.proposal.entities[claim.object])
    if share[0] > 0:
        return False
    if claim.kind == "in front":
        return bool(share.max() == 0)
    if (share == 1).sum() < 2:
        return False
    return bool((share[-2:] == 1).all()) if "stays hidden" in kinds else bool(share[-1] == 0)


def _candidates(rng: np.random.Generator, moves: tuple[CameraMove, ...]) -> list[CameraMove]:
    """Camera moves in the order in which they are tried, the static camera last of all."""
    weights = np.array([5.0 if move == "static" else 1.0 for move in moves])
    order = rng.choice(len(moves), size=min(4, len(moves)), replace=False, p=weights / weights.sum())
    picked = [moves[int(k)] for k in order]
    return [*picked[: picked.index("static")], "static"] if "static" in picked else [*picked, "static"]


def _filmed(
    spec: ClipSpec, takes: list[_Take], attempt: int
) -> tuple[Shot, Float[np.ndarray, "f 13"], list[frozenset[int]]] | None:
    """A shot from which every take shows what its verdict says; None where no move does."""
    rng = np.random.default_rng([spec.seed, 2, attempt])
    aspect = spec.width / spec.height
    points = np.concatenate([take.shapes.points for take in takes], axis=1)
    watched = np.concatenate([_watched(take, spec.fps, spec.lab) for take in takes], axis=1)
    view = takes[0].proposal.view
    if spec.lab:
        moves: list[CameraMove] = [lab.camera_of(takes[0].verdict)]
    else:
        moves = _candidates(rng, view.moves)
    for move in moves:
        low, high = AMOUNTS[move]
        if spec.lab:
            shot = lab.shot(move)
            cameras = path(shot, spec.frames)
            left, bottom, right, top = extents(cameras, points, watched, aspect)
            found = (shot, cameras) if max(-left, right, -bottom, top) < 1 else None
        else:
            shot = Shot(
                move=move,
                amount=float(rng.uniform(low, high)),
                azimuth=-90 + float(rng.uniform(-view.azimuth, view.azimuth)),
                elevation=float(rng.uniform(*view.elevation)),
                fov=float(rng.uniform(36, 48)),
            )
            margin = float(rng.uniform(0.84, 0.94))
            found = framed(shot, points, watched, aspect, Framing(margin=margin))
        if found is None:
            continue
        unseen = [_shows(take, found[1], aspect) for take in takes]
        if all(u is not None for u in unseen):
            return (*found, [u for u in unseen if u is not None])
    return None


def drawn(spec: ClipSpec, first: int = 0) -> Drawn:
    """The scene of a spec.

    Args:
        spec: what to draw.
        first: the attempt to begin with; later ones follow where a rendering shows that this one fails.

    Raises:
        UserError: the event or outcome does not exist, or can't be had with these frames.
    """
    kind, wanted = _chosen(spec)
    paired = kind.name in PAIRED
    simulations = 0
    for attempt in range(first, first + TRIES):
        takes: list[_Take] = []
        for cause in kind.outcomes if paired else (wanted,):
            simulations += 1
            take = _taken(spec, kind, cause, attempt)
            if take is None:
                break
            takes.append(take)
        else:
            film = _filmed(spec, takes, attempt)
            if film is not None:
                which = kind.outcomes.index(wanted) if paired else 0
                take = takes[which]
                return Drawn(
                    event=kind.name,
                    outcome=wanted,
                    entities=take.proposal.entities,
                    solids=take.solids,
                    seen=take.seen,
                    verdict=take.verdict,
                    shot=film[0],
                    cameras=film[1],
                    event_frame=take.event_frame,
                    unseen=film[2][which],
                    attempt=attempt,
                    tries=simulations,
                )
    raise UserError(
        f"{wanted!r} did not happen in {TRIES} scenes of {kind.name!r} within {spec.frames} frames at "
        f"{spec.fps:g} a second; give it more frames or another outcome"
    )
