"""Rejection sampling of scenes: choose an outcome, simulate proposals until it happens, find a camera."""

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
"""Simulations before giving up; the average is below two."""
_MAX_PROPOSALS = 2000
"""Proposals tried for a combination of the split; they are not simulated."""
_IN_VIEW_RADIUS = 1.8
"""Distance from the centre of the scene within which entities must be in view, metres."""
_FOLLOW_SECONDS = 1.0
"""Seconds after the event during which moving entities must be in view."""
_END_STATE_CLAIMS = {
    "stops", "short of", "lands on", "falls beside", "falls in", "bounces", "bounces back", "rests on",
    "stays", "stands", "tips over", "spins", "circles", "swings", "thrown",
    "re-emerges", "in front", "stays hidden",
}  # fmt: skip
MIN_VISIBLE_EXTENT = 7.0 / 128
"""Smallest extent of a named entity as a share of the image height; one pixel of tolerance at 128."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SampledScene:
    """A simulated scene with the requested outcome and a camera."""

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
    """Background entities that are too small or cut off in this view."""
    attempt: int
    """Index of the accepted attempt."""
    num_simulations: int
    """Number of simulations run."""


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
    """A number in 0..1; consecutive seeds form a Kronecker sequence of the golden ratio."""
    return (seed * 0x9E3779B97F4A7C15 % 2**64) / 2**64


def _choose_event(spec: ClipSpec) -> tuple[EventType, str]:
    """Choose the event and the requested outcome, from the spec or by the seed.

    One low-discrepancy number chooses both, so that the shares in a dataset are close to the weights.
    """
    table = LAB_EVENT_WEIGHTS if spec.lab else EVENT_WEIGHTS
    names, weights = tuple(table), np.array(tuple(table.values()))
    position = _low_discrepancy(spec.seed)
    if spec.event is None:
        ends = np.cumsum(weights) / weights.sum()
        drawn_event = min(int(np.searchsorted(ends, position, side="right")), len(names) - 1)
        below = float(ends[drawn_event - 1]) if drawn_event else 0.0
        position = (position - below) / float(ends[drawn_event] - below)
        event = names[drawn_event]
    else:
        event = spec.event
    if event not in names:
        domain = "the lab" if spec.lab else "the simulator"
        raise UserError(
            f"{event!r} is not an event of {domain}{did_you_mean(event, names)}; "
            f"choose one of: {', '.join(names)}"
        )
    event_type = EVENT_TYPES[event]
    options = lab_split.lab_outcomes(event_type) if spec.lab else event_type.outcomes
    outcome = spec.outcome or options[min(int(position * len(options)), len(options) - 1)]
    if spec.lab:
        options = lab_split.all_lab_outcomes(event_type)
    if outcome not in options:
        raise UserError(
            f"{outcome!r} is not an outcome of {event!r}{did_you_mean(outcome, options)}; "
            f"choose one of: {', '.join(options)}"
        )
    return event_type, outcome


def _propose_scene(spec: ClipSpec, event_type: EventType, outcome: str, attempt: int) -> SceneProposal:
    """The first proposal of an attempt whose combination belongs to the split."""
    for k in range(_MAX_PROPOSALS):
        # One generator per proposal, so that both clips of a pair draw the same numbers.
        rng = np.random.default_rng([spec.seed, 1, attempt, k])
        proposal = event_type.propose(
            SceneBuilder(
                rng,
                lab=spec.lab,
                num_frames=spec.num_frames,
                fps=spec.fps,
                main_shape=spec.main_shape,
                partner_shape=spec.partner_shape,
            ),
            outcome,
        )
        if spec.split == "all" or not spec.lab:
            break
        is_held_out = lab_split.is_held_out(lab_split.proposal_combination(event_type.name, proposal))
        if is_held_out == (spec.split == "test"):
            break
    else:
        raise UserError(
            f"the {spec.split} split has no combination of {event_type.name!r} with the outcome {outcome!r}; "
            "leave out the outcome or the event"
        )
    return proposal


def _swap_pair(
    spec: ClipSpec, proposal: SceneProposal, trajectory: Trajectory
) -> tuple[SceneProposal, Trajectory]:
    """Apply the swap of a minimal pair to a simulated scene.

    The simulation is not repeated: colours do not affect it, and it is symmetric in left and right.
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
    """Simulate one proposal; None if the requested outcome did not happen."""
    proposal = _propose_scene(spec, event_type, outcome, attempt)
    bodies = tuple(build_body(entity) for entity in proposal.entities)
    trajectory = simulate(proposal.entities, bodies, num_frames=spec.num_frames, fps=spec.fps)
    event_outcome = event_type.evaluate(proposal, trajectory)
    background = {k for k, e in enumerate(proposal.entities) if e.role == "background"}
    if (
        event_outcome is None
        or event_outcome.outcome != outcome
        or background_has_contact(trajectory, background)
    ):
        return None
    if spec.swap:
        proposal, trajectory = _swap_pair(spec, proposal, trajectory)
        # Bodies contain the colours, so they are built again.
        bodies = tuple(build_body(entity) for entity in proposal.entities)
        event_outcome = event_type.evaluate(proposal, trajectory) or event_outcome
    return _SimulatedProposal(
        proposal=proposal,
        bodies=bodies,
        trajectory=trajectory,
        event_outcome=event_outcome,
        outline_points=visibility.compute_outline_points(bodies, trajectory),
        event_frame=min(spec.num_frames - 1, max(0, int(np.ceil(event_outcome.event_frame)))),
    )


def _required_points(variant: _SimulatedProposal, fps: float, lab_clip: bool) -> Bool[np.ndarray, "f p"]:
    """Which outline points must be in view in which frames.

    Entities of the event must be in view until shortly after it, or until the last frame if a claim is about
    their final state. Entities that move too far away are excluded, because the others would become too
    small.
    """
    frames = variant.trajectory.num_frames
    required = np.zeros((frames, variant.outline_points.points.shape[1]), dtype=bool)
    spans = {w.entity: w for w in variant.event_outcome.visibility}
    ends = {claim.subject for claim in variant.event_outcome.claims if claim.kind in _END_STATE_CLAIMS}
    positions = np.array([e.position for e in variant.proposal.entities if e.role != "background"])
    centre = (positions.min(axis=0) + positions.max(axis=0)) / 2
    for index, entity in enumerate(variant.proposal.entities):
        if entity.role == "background" or not (entity.named or entity.group):
            continue
        required_frames = np.zeros(frames, dtype=bool)
        if index in spans:
            required_frames[spans[index].first_frame : spans[index].last_frame + 1] = True
        else:
            offset = variant.trajectory.position[:, index] - centre
            max_offset = (1.5 if lab_clip else _IN_VIEW_RADIUS) * (1.7 if index in ends else 1.0)
            is_near = (
                (np.abs(offset[:, 0]) < max_offset)
                & (np.abs(offset[:, 1]) < _IN_VIEW_RADIUS + 0.4)
                & (offset[:, 2] < 3.0)
            )
            last_required = (
                frames
                if index in ends or entity.group
                else variant.event_frame + round(_FOLLOW_SECONDS * fps)
            )
            # An entity that has left the region is not required again, even if it returns.
            required_frames[:last_required] = np.logical_and.accumulate(is_near)[:last_required]
            required_frames[variant.event_frame] = True
        required[:, variant.outline_points.slices[index]] = required_frames[:, None]
    return required


def _find_hidden_background(
    variant: _SimulatedProposal, cameras: Float[np.ndarray, "f 13"], aspect: float
) -> frozenset[int] | None:
    """The background entities that cannot be named; None if a claim does not hold in this view."""
    view = visibility.project_scene(cameras, variant.outline_points, variant.trajectory, aspect)
    entities, trajectory, claims = variant.proposal.entities, variant.trajectory, variant.event_outcome.claims
    if not all(
        visibility.claim_holds_on_screen(c, view, entities, trajectory, variant.event_frame) for c in claims
    ):
        return None
    if not _occlusion_claims_hold(variant, cameras):
        return None
    hidden = set()
    for index, entity in enumerate(variant.proposal.entities):
        if not entity.named:
            continue
        box = view.box[variant.event_frame, index]
        small = max((box[2] - box[0]) * aspect, box[3] - box[1]) < MIN_VISIBLE_EXTENT
        if entity.role == "background":
            whole = visibility.is_inside_frame(view.box[:, index]).mean() > 0.6
            if small or not whole or not visibility.is_inside_frame(box):
                hidden.add(index)
        elif small:
            return None
    return frozenset(hidden)


def _occlusion_claims_hold(variant: _SimulatedProposal, cameras: Float[np.ndarray, "f 13"]) -> bool:
    """Whether claims of occlusion hold for the outline points. The id buffer is checked after rendering."""
    claims_by_kind: dict[str, Claim] = {c.kind: c for c in variant.event_outcome.claims}
    claim = claims_by_kind.get("hides") or claims_by_kind.get("in front")
    if claim is None or claim.subject is None or claim.object is None:
        return True
    points = variant.outline_points.points[:, variant.outline_points.slices[claim.subject]]
    occluded = visibility.occluded_fraction(cameras, points, variant.proposal.entities[claim.object])
    if occluded[0] > 0:
        return False
    if claim.kind == "in front":
        return bool(occluded.max() == 0)
    if (occluded == 1).sum() < 2:
        return False
    return bool((occluded[-2:] == 1).all()) if "stays hidden" in claims_by_kind else bool(occluded[-1] == 0)


def _candidate_moves(rng: np.random.Generator, moves: tuple[CameraMove, ...]) -> list[CameraMove]:
    """Camera moves in the order in which they are tried; 'static' is last."""
    weights = np.array([5.0 if move == "static" else 1.0 for move in moves])
    order = rng.choice(len(moves), size=min(4, len(moves)), replace=False, p=weights / weights.sum())
    picked = [moves[int(k)] for k in order]
    return [*picked[: picked.index("static")], "static"] if "static" in picked else [*picked, "static"]


def _find_camera(
    spec: ClipSpec, variants: list[_SimulatedProposal], attempt: int
) -> tuple[CameraShot, Float[np.ndarray, "f 13"], list[frozenset[int]]] | None:
    """A shot in which the claims of every variant hold; None if no move gives one."""
    rng = np.random.default_rng([spec.seed, 2, attempt])
    aspect = spec.width / spec.height
    points = np.concatenate([variant.outline_points.points for variant in variants], axis=1)
    required = np.concatenate([_required_points(variant, spec.fps, spec.lab) for variant in variants], axis=1)
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
            left, bottom, right, top = view_extents(cameras, points, required, aspect)
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
            found = fit_camera(shot, points, required, aspect, Framing(margin=margin))
        if found is None:
            continue
        hidden = [_find_hidden_background(variant, found[1], aspect) for variant in variants]
        if all(u is not None for u in hidden):
            return (*found, [u for u in hidden if u is not None])
    return None


def sample_scene(spec: ClipSpec, first_attempt: int = 0) -> SampledScene:
    """Sample the scene of a spec.

    Args:
        spec: the clip's specification.
        first_attempt: the attempt to start with. `clip.make_clip` passes the next one after a scene that
            turned out not to be visible.

    Raises:
        UserError: the event or outcome does not exist, or does not happen within the given frames.
    """
    event_type, outcome = _choose_event(spec)
    paired = event_type.name in PAIRED_EVENTS
    simulations = 0
    for attempt in range(first_attempt, first_attempt + MAX_SIMULATIONS):
        variants: list[_SimulatedProposal] = []
        for cause in event_type.outcomes if paired else (outcome,):
            simulations += 1
            variant = _simulate_proposal(spec, event_type, cause, attempt)
            if variant is None:
                break
            variants.append(variant)
        else:
            camera = _find_camera(spec, variants, attempt)
            if camera is not None:
                pair_index = event_type.outcomes.index(outcome) if paired else 0
                variant = variants[pair_index]
                return SampledScene(
                    event=event_type.name,
                    outcome=outcome,
                    entities=variant.proposal.entities,
                    bodies=variant.bodies,
                    trajectory=variant.trajectory,
                    event_outcome=variant.event_outcome,
                    shot=camera[0],
                    cameras=camera[1],
                    event_frame=variant.event_frame,
                    hidden_background=camera[2][pair_index],
                    attempt=attempt,
                    num_simulations=simulations,
                )
    raise UserError(
        f"{outcome!r} did not happen in {MAX_SIMULATIONS} scenes of {event_type.name!r} within "
        f"{spec.num_frames} frames at {spec.fps:g} fps; use more frames or another outcome"
    )
