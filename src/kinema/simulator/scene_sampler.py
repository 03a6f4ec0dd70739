"""Choosing a scene: first what shall happen, then scenes until it does, then a camera that shows it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from kinema.errors import UserError, did_you_mean
from kinema.simulator import lab_split, visibility
from kinema.simulator.annotations import PAIRED_EVENTS, CameraMove, Claim, Event
from kinema.simulator.body_builder import build_body
from kinema.simulator.camera_moves import (
    MOVE_AMOUNTS,
    CameraShot,
    Framing,
    camera_path,
    fit_camera,
    view_extents,
)
from kinema.simulator.clip_spec import ClipSpec
from kinema.simulator.entities import Entity, mirror_entity
from kinema.simulator.event_api import EventOutcome, EventType, SceneBuilder, SceneProposal
from kinema.simulator.events import EVENT_TYPES, EVENT_WEIGHTS, LAB_EVENT_WEIGHTS
from kinema.simulator.events.event_checks import background_has_contact
from kinema.simulator.geometry import Body
from kinema.simulator.physics import Trajectory, simulate

MAX_SIMULATIONS = 40
"""Simulations before a wish is given up; on average it takes fewer than two."""
_MAX_PROPOSALS = 2000
"""Proposals before a held-out combination is given up; they cost no simulation."""
_IN_VIEW_RADIUS = 1.8
"""Metres from the middle of the scene within which things are kept in view."""
_FOLLOW_SECONDS = 1.0
"""Seconds after the event for which what moves on is followed."""
_END_STATE_CLAIMS = {
    "stops", "short of", "lands on", "falls beside", "falls in", "bounces", "bounces back", "rests on",
    "stays", "stands", "tips over", "spins", "circles", "swings", "thrown",
    "re-emerges", "in front", "stays hidden",
}  # fmt: skip
MIN_VISIBLE_EXTENT = 7.0 / 128
"""Share of the picture that the smallest named thing must span, with a pixel to spare at 128."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SampledScene:
    """One scene that did what was wanted, before it is rendered."""

    event: Event
    outcome: str
    entities: tuple[Entity, ...]
    bodies: tuple[Body, ...]
    trajectory: Trajectory
    event_outcome: EventOutcome
    shot: CameraShot
    cameras: Float[np.ndarray, "f 13"]
    event_frame: int
    hidden_background: frozenset[int]
    """Background things that are not worth naming from this camera."""
    attempt: int
    """Which attempt it was."""
    num_simulations: int
    """Simulations it took."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _SimulatedProposal:
    """One simulated variant of a proposal."""

    proposal: SceneProposal
    bodies: tuple[Body, ...]
    trajectory: Trajectory
    event_outcome: EventOutcome
    outline_points: visibility.OutlinePoints
    event_frame: int


def _low_discrepancy(seed: int) -> float:
    """A number in 0..1 that consecutive seeds spread evenly (the Kronecker sequence of the golden ratio)."""
    return (seed * 0x9E3779B97F4A7C15 % 2**64) / 2**64


def _choose_event(spec: ClipSpec) -> tuple[EventType, str]:
    """The event and the outcome to aim for, from the seed or from the spec.

    One evenly spread number picks both, so that a thousand clips hold very nearly as much of each as
    their weights say, not only on average.
    """
    table = LAB_EVENT_WEIGHTS if spec.lab else EVENT_WEIGHTS
    names, weights = tuple(table), np.array(tuple(table.values()))
    place = _low_discrepancy(spec.seed)
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
    options = lab_split.lab_outcomes(kind) if spec.lab else kind.outcomes
    outcome = spec.outcome or options[min(int(place * len(options)), len(options) - 1)]
    if outcome not in options:
        raise UserError(
            f"{outcome!r} is no outcome of {event!r}{did_you_mean(outcome, options)}; "
            f"choose one of: {', '.join(options)}"
        )
    return kind, outcome


def _propose_scene(spec: ClipSpec, event_type: EventType, outcome: str, attempt: int) -> SceneProposal:
    """The first proposal of this attempt whose combination the split allows."""
    for k in range(_MAX_PROPOSALS):
        # One stream of random numbers for each proposal: the variants of a pair draw the same numbers.
        rng = np.random.default_rng([spec.seed, 1, attempt, k])
        proposal = event_type.propose(
            SceneBuilder(rng, lab=spec.lab, num_frames=spec.num_frames, fps=spec.fps), outcome
        )
        if spec.split == "all" or not spec.lab:
            break
        held = lab_split.is_held_out(lab_split.proposal_combination(event_type.name, proposal))
        if held == (spec.split == "test"):
            break
    else:
        raise UserError(
            f"no combination of {event_type.name!r} with the outcome {outcome!r} is in the {spec.split} split; "
            "leave the outcome or the event open"
        )
    return proposal


def _swap_pair(
    spec: ClipSpec, proposal: SceneProposal, trajectory: Trajectory
) -> tuple[SceneProposal, Trajectory]:
    """The minimal pair of a simulated scene.

    Colours weigh nothing and the laws of motion know no left and right, so what was simulated holds for
    the pair too, and the two clips can't drift apart.
    """
    if spec.swap == "colours":
        return replace(proposal, entities=lab_split.swap_colours(proposal.entities)), trajectory
    if spec.swap == "sides":
        return replace(
            proposal, entities=tuple(mirror_entity(e) for e in proposal.entities)
        ), trajectory.mirrored()
    return proposal, trajectory


def _simulate_proposal(
    spec: ClipSpec, event_type: EventType, outcome: str, attempt: int
) -> _SimulatedProposal | None:
    """Simulate one proposal; None unless the wanted outcome is what happened."""
    proposal = _propose_scene(spec, event_type, outcome, attempt)
    solids = tuple(build_body(entity) for entity in proposal.entities)
    seen = simulate(proposal.entities, solids, num_frames=spec.num_frames, fps=spec.fps)
    verdict = event_type.evaluate(proposal, seen)
    background = {k for k, e in enumerate(proposal.entities) if e.role == "background"}
    if verdict is None or verdict.outcome != outcome or background_has_contact(seen, background):
        return None
    if spec.swap:
        proposal, seen = _swap_pair(spec, proposal, seen)
        # The solids carry the colours into the picture.
        solids = tuple(build_body(entity) for entity in proposal.entities)
        verdict = event_type.evaluate(proposal, seen) or verdict
    return _SimulatedProposal(
        proposal=proposal,
        bodies=solids,
        trajectory=seen,
        event_outcome=verdict,
        outline_points=visibility.compute_outline_points(solids, seen),
        event_frame=min(spec.num_frames - 1, max(0, int(np.ceil(verdict.event_frame)))),
    )


def _required_points(variant: _SimulatedProposal, fps: float, lab_clip: bool) -> Bool[np.ndarray, "f p"]:
    """Which outline points must be in view in which frames.

    Everything that takes part, from the first frame until shortly after the event; to the end where the
    end is what is told; and never farther out than a few metres, or the rest would become too small.
    """
    frames = variant.trajectory.num_frames
    watched = np.zeros((frames, variant.outline_points.points.shape[1]), dtype=bool)
    spans = {w.entity: w for w in variant.event_outcome.visibility}
    ends = {claim.subject for claim in variant.event_outcome.claims if claim.kind in _END_STATE_CLAIMS}
    start = np.array([e.position for e in variant.proposal.entities if e.role != "background"])
    middle = (start.min(axis=0) + start.max(axis=0)) / 2
    for index, entity in enumerate(variant.proposal.entities):
        if entity.role == "background" or not (entity.named or entity.group):
            continue
        when = np.zeros(frames, dtype=bool)
        if index in spans:
            when[spans[index].first_frame : spans[index].last_frame + 1] = True
        else:
            way = variant.trajectory.position[:, index] - middle
            wide = (1.5 if lab_clip else _IN_VIEW_RADIUS) * (1.7 if index in ends else 1.0)
            near = (
                (np.abs(way[:, 0]) < wide) & (np.abs(way[:, 1]) < _IN_VIEW_RADIUS + 0.4) & (way[:, 2] < 3.0)
            )
            last = (
                frames
                if index in ends or entity.group
                else variant.event_frame + round(_FOLLOW_SECONDS * fps)
            )
            # Once it has gone far it need not be followed, not even if it should come back.
            when[:last] = np.logical_and.accumulate(near)[:last]
            when[variant.event_frame] = True
        watched[:, variant.outline_points.slices[index]] = when[:, None]
    return watched


def _find_hidden_background(
    variant: _SimulatedProposal, cameras: Float[np.ndarray, "f 13"], aspect: float
) -> frozenset[int] | None:
    """The background things that can't be named, if everything else is as the verdict says; else None."""
    view = visibility.project_scene(cameras, variant.outline_points, variant.trajectory, aspect)
    entities, seen, claims = variant.proposal.entities, variant.trajectory, variant.event_outcome.claims
    if not all(
        visibility.claim_holds_on_screen(c, view, entities, seen, variant.event_frame) for c in claims
    ):
        return None
    if not _occlusion_claims_hold(variant, cameras):
        return None
    unseen = set()
    for index, entity in enumerate(variant.proposal.entities):
        if not entity.named:
            continue
        box = view.box[variant.event_frame, index]
        small = max((box[2] - box[0]) * aspect, box[3] - box[1]) < MIN_VISIBLE_EXTENT
        if entity.role == "background":
            whole = visibility.is_inside_frame(view.box[:, index]).mean() > 0.6
            if small or not whole or not visibility.is_inside_frame(box):
                unseen.add(index)
        elif small:
            return None
    return frozenset(unseen)


def _occlusion_claims_hold(variant: _SimulatedProposal, cameras: Float[np.ndarray, "f 13"]) -> bool:
    """Whether hiding claims hold for outline points; the id buffer is asked again after rendering."""
    kinds: dict[str, Claim] = {c.kind: c for c in variant.event_outcome.claims}
    claim = kinds.get("hides") or kinds.get("in front")
    if claim is None or claim.subject is None or claim.object is None:
        return True
    points = variant.outline_points.points[:, variant.outline_points.slices[claim.subject]]
    share = visibility.occluded_fraction(cameras, points, variant.proposal.entities[claim.object])
    if share[0] > 0:
        return False
    if claim.kind == "in front":
        return bool(share.max() == 0)
    if (share == 1).sum() < 2:
        return False
    return bool((share[-2:] == 1).all()) if "stays hidden" in kinds else bool(share[-1] == 0)


def _candidate_moves(rng: np.random.Generator, moves: tuple[CameraMove, ...]) -> list[CameraMove]:
    """Camera moves in the order in which they are tried, the static camera last of all."""
    weights = np.array([5.0 if move == "static" else 1.0 for move in moves])
    order = rng.choice(len(moves), size=min(4, len(moves)), replace=False, p=weights / weights.sum())
    picked = [moves[int(k)] for k in order]
    return [*picked[: picked.index("static")], "static"] if "static" in picked else [*picked, "static"]


def _find_camera(
    spec: ClipSpec, variants: list[_SimulatedProposal], attempt: int
) -> tuple[CameraShot, Float[np.ndarray, "f 13"], list[frozenset[int]]] | None:
    """A shot from which every take shows what its verdict says; None where no move does."""
    rng = np.random.default_rng([spec.seed, 2, attempt])
    aspect = spec.width / spec.height
    points = np.concatenate([take.outline_points.points for take in variants], axis=1)
    watched = np.concatenate([_required_points(take, spec.fps, spec.lab) for take in variants], axis=1)
    view = variants[0].proposal.view
    if spec.lab:
        moves: list[CameraMove] = [lab_split.lab_camera_move(variants[0].event_outcome)]
    else:
        moves = _candidate_moves(rng, view.moves)
    for move in moves:
        low, high = MOVE_AMOUNTS[move]
        if spec.lab:
            shot = lab_split.lab_shot(move)
            cameras = camera_path(shot, spec.num_frames)
            left, bottom, right, top = view_extents(cameras, points, watched, aspect)
            found = (shot, cameras) if max(-left, right, -bottom, top) < 1 else None
        else:
            shot = CameraShot(
                move=move,
                amount=float(rng.uniform(low, high)),
                azimuth=-90 + float(rng.uniform(-view.azimuth, view.azimuth)),
                elevation=float(rng.uniform(*view.elevation)),
                fov=float(rng.uniform(36, 48)),
            )
            margin = float(rng.uniform(0.84, 0.94))
            found = fit_camera(shot, points, watched, aspect, Framing(margin=margin))
        if found is None:
            continue
        unseen = [_find_hidden_background(take, found[1], aspect) for take in variants]
        if all(u is not None for u in unseen):
            return (*found, [u for u in unseen if u is not None])
    return None


def sample_scene(spec: ClipSpec, first_attempt: int = 0) -> SampledScene:
    """The scene of a spec.

    Args:
        spec: what to draw.
        first_attempt: the attempt to begin with; later ones follow where a rendering shows that this one fails.

    Raises:
        UserError: the event or outcome does not exist, or can't be had with these frames.
    """
    kind, wanted = _choose_event(spec)
    paired = kind.name in PAIRED_EVENTS
    simulations = 0
    for attempt in range(first_attempt, first_attempt + MAX_SIMULATIONS):
        takes: list[_SimulatedProposal] = []
        for cause in kind.outcomes if paired else (wanted,):
            simulations += 1
            take = _simulate_proposal(spec, kind, cause, attempt)
            if take is None:
                break
            takes.append(take)
        else:
            film = _find_camera(spec, takes, attempt)
            if film is not None:
                which = kind.outcomes.index(wanted) if paired else 0
                take = takes[which]
                return SampledScene(
                    event=kind.name,
                    outcome=wanted,
                    entities=take.proposal.entities,
                    bodies=take.bodies,
                    trajectory=take.trajectory,
                    event_outcome=take.event_outcome,
                    shot=film[0],
                    cameras=film[1],
                    event_frame=take.event_frame,
                    hidden_background=film[2][which],
                    attempt=attempt,
                    num_simulations=simulations,
                )
    raise UserError(
        f"{wanted!r} did not happen in {MAX_SIMULATIONS} scenes of {kind.name!r} within {spec.num_frames} frames at "
        f"{spec.fps:g} a second; give it more frames or another outcome"
    )
