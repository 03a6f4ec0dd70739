"""Rigid bodies: entities in, poses and contacts out. MuJoCo does the mechanics.

A simulation starts from a fresh model and data every time, so its result depends on its arguments alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import mujoco
import numpy as np
from jaxtyping import Float

from kinema.simulator.annotations import Contact
from kinema.simulator.attributes import MATERIAL_PROPERTIES
from kinema.simulator.entities import (
    CircularMotion,
    Entity,
    Hinge,
    RigidAttachment,
    SpinMotion,
    quat_from_axis_angle,
    quat_mul,
    quat_to_matrix,
)
from kinema.simulator.geometry import Body, CollisionGeom

GRAVITY = 9.81
FLOOR_INDEX = -1
"""The floor's index in contacts."""

_MAX_TIMESTEP = 1.25e-3
"""Seconds. With twice that and the implicit integrator some cylinders hopped off the floor by themselves."""
_CONTACT_STIFFNESS = 30000.0
"""Per second squared. A contact lasts about pi / sqrt(stiffness) = 18 ms, some fourteen steps."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Trajectory:
    """What the simulation made of the entities. Axes: f frames, n entities."""

    fps: float
    position: Float[np.ndarray, "f n 3"]
    rotation: Float[np.ndarray, "f n 3 3"]
    velocity: Float[np.ndarray, "f n 3"]
    wheels: tuple[Float[np.ndarray, "f w 12"], ...]
    """For each entity, its wheels' positions (3) and rotations (9)."""
    contacts: tuple[Contact, ...]
    """Between entities, `a` before `b`, in the order in which they happen."""
    floor_contacts: tuple[Contact, ...]
    """With the floor: `a` is FLOOR."""

    @property
    def num_frames(self) -> int:
        """Number of frames."""
        return len(self.position)

    def contact_between(self, a: int, b: int) -> Contact | None:
        """The contact of two entities, in either order."""
        low, high = min(a, b), max(a, b)
        return next((c for c in self.contacts if c.a == low and c.b == high), None)

    def floor_contact(self, entity: int) -> Contact | None:
        """The contact of an entity with the floor."""
        return next((c for c in self.floor_contacts if c.b == entity), None)

    def mirrored(self) -> Trajectory:
        """The trajectory of the mirror image, left and right exchanged. For scenes without wheels."""
        flip = np.array([-1.0, 1.0, 1.0])
        return replace(
            self,
            position=self.position * flip,
            rotation=self.rotation * (flip[:, None] * flip),
            velocity=self.velocity * flip,
        )

    def upright(self) -> Float[np.ndarray, "f n"]:
        """Cosine between the direction that was up in an entity's first frame and the world's up."""
        first = self.rotation[0]
        # Row 2 of R first.T, dotted with z: how far the first frame's up axis has turned.
        return np.einsum("fnk,nk->fn", self.rotation[:, :, 2, :], first[:, 2, :])


def _contact_damping(restitution: float) -> float:
    """Damping, in MuJoCo's direct solref form, of a contact that bounces back with `restitution`.

    A spring and damper gives back exp(-pi z / sqrt(1 - z^2)) of the speed at damping ratio z; the factor
    is measured against MuJoCo's impedance, which softens the nominal damping.
    """
    log = math.log(max(restitution, 0.01))
    ratio = -log / math.sqrt(math.pi**2 + log**2)
    return 2 * ratio * math.sqrt(_CONTACT_STIFFNESS) * 1.04


def _format_numbers(values: tuple[float, ...]) -> str:
    return " ".join(repr(float(v)) for v in values)


def _geom_xml(geom: CollisionGeom, entity: Entity, mesh: str, collides: bool) -> str:
    stuff = MATERIAL_PROPERTIES[entity.material]
    density = geom.density or entity.density or stuff.density
    friction = geom.friction or (stuff.friction if entity.friction is None else entity.friction)
    bounce = stuff.restitution if entity.restitution is None else entity.restitution
    size = f'size="{_format_numbers(geom.size)}"' if geom.size else f'mesh="{mesh}"'
    # Rolling friction needs the six-dimensional contact, which costs more: only where it is asked for.
    dimensions = 6 if entity.rolling_friction else 3
    touching = "" if collides else 'contype="0" conaffinity="0"'
    return (
        f'<geom type="{geom.type}" {size} pos="{_format_numbers(geom.position)}" quat="{_format_numbers(geom.rotation)}" '
        f'density="{density}" friction="{friction} 0.005 {entity.rolling_friction}" condim="{dimensions}" {touching} '
        f'solref="{-_CONTACT_STIFFNESS} {-_contact_damping(bounce)!r}"/>'
    )


def _joint_xml(index: int, entity: Entity) -> str:
    match entity.motion:
        case Hinge(axis=axis, anchor=anchor, damping=damping, limit=limit):
            bounds = "" if limit is None else f'range="{-limit} {limit}" limited="true"'
            return (
                f'<joint name="j{index}" type="hinge" axis="{_format_numbers(axis)}" pos="{_format_numbers(anchor)}" '
                f'damping="{damping}" {bounds}/>'
            )
        case None if not entity.fixed:
            return f'<freejoint name="j{index}"/>'
    return ""


def build_mujoco_xml(entities: tuple[Entity, ...], entity_bodies: tuple[Body, ...], timestep: float) -> str:
    """The MuJoCo model of a scene."""
    assets, bodies, exclusions = [], [], []
    for index, (entity, solid) in enumerate(zip(entities, entity_bodies, strict=True)):
        if isinstance(entity.motion, CircularMotion | SpinMotion | RigidAttachment):
            continue
        collides = entity.shape != "rod"
        geoms = []
        for number, geom in enumerate(solid.collision_geoms):
            mesh = f"m{index}_{number}"
            if geom.vertices is not None:
                corners = _format_numbers(tuple(geom.vertices.ravel().tolist()))
                assets.append(f'<mesh name="{mesh}" vertex="{corners}" inertia="convex"/>')
            geoms.append(_geom_xml(geom, entity, mesh, collides))
        for number, wheel in enumerate(solid.wheels):
            geoms.append(
                f'<body name="b{index}w{number}" pos="{_format_numbers(wheel.position)}">'
                f'<joint type="hinge" axis="0 1 0" damping="0.0001"/>'
                f"{_geom_xml(wheel.collision_geom, entity, '', True)}</body>"
            )
        bodies.append(
            f'<body name="b{index}" pos="{_format_numbers(entity.position)}" quat="{_format_numbers(entity.rotation)}">'
            f"{_joint_xml(index, entity)}{''.join(geoms)}</body>"
        )
        if isinstance(entity.motion, Hinge):
            exclusions += [
                f'<exclude body1="b{index}" body2="b{other}"/>'
                for other, thing in enumerate(entities)
                if thing.shape == "pivot"
            ]
    return (
        f'<mujoco><option timestep="{timestep!r}" gravity="0 0 {-GRAVITY}" integrator="Euler" '
        # With the usual tolerance the solver stops while heavy things still creep down slopes.
        'cone="elliptic" impratio="3" tolerance="1e-12"/><size memory="16M"/><compiler angle="radian" '
        'balanceinertia="true" boundmass="0.0001" boundinertia="0.0000001"/>'
        f"<asset>{''.join(assets)}</asset><worldbody>"
        # The rougher of two surfaces sets a contact's friction, so a slippery floor leaves it to the things.
        '<geom name="floor" type="plane" size="60 60 1" friction="0.02 0.005 0"/>'
        f"{''.join(bodies)}</worldbody><contact>{''.join(exclusions)}</contact></mujoco>"
    )


def _set_initial_velocities(
    model: mujoco.MjModel, data: mujoco.MjData, entities: tuple[Entity, ...], bodies: tuple[Body, ...]
) -> None:
    for index, entity in enumerate(entities):
        if entity.fixed or isinstance(entity.motion, CircularMotion | SpinMotion | RigidAttachment):
            continue
        joint = model.joint(f"j{index}").id
        dof = model.jnt_dofadr[joint]
        if isinstance(entity.motion, Hinge):
            data.qvel[dof] = float(np.dot(entity.motion.axis, entity.angular_velocity))
        else:
            data.qvel[dof : dof + 3] = entity.velocity
            # A free joint's angular velocity is in the body's own frame.
            data.qvel[dof + 3 : dof + 6] = quat_to_matrix(entity.rotation).T @ np.array(
                entity.angular_velocity
            )
            for number, wheel in enumerate(bodies[index].wheels):
                forward = float(quat_to_matrix(entity.rotation)[:, 0] @ np.array(entity.velocity))
                spinning = model.jnt_dofadr[model.body(f"b{index}w{number}").jntadr[0]]
                data.qvel[spinning] = forward / wheel.collision_geom.size[2]


class _ContactRecorder:
    """First and last times of contact between owners, kept while a simulation runs."""

    def __init__(self, owner_of_geom: list[int]) -> None:
        self.owner_of_geom = owner_of_geom
        self.intervals: dict[tuple[int, int], list[float]] = {}

    def record(self, pairs: list[list[int]], time: float) -> None:
        for first, second in pairs:
            a, b = self.owner_of_geom[first], self.owner_of_geom[second]
            if a == b:
                continue
            key = (a, b) if a < b else (b, a)
            span = self.intervals.get(key)
            if span is None:
                self.intervals[key] = [time, time]
            else:
                span[1] = time

    def contacts(self, floor: bool) -> tuple[Contact, ...]:
        spans = [
            (span[0], key, span[1])
            for key, span in self.intervals.items()
            if (key[0] == FLOOR_INDEX) == floor
        ]
        return tuple(Contact(a=a, b=b, first=first, last=last) for first, (a, b), last in sorted(spans))


def _geom_owners(model: mujoco.MjModel, entity_of_body: dict[int, int]) -> list[int]:
    owners = []
    for geom in range(model.ngeom):
        body = int(model.geom_bodyid[geom])
        while body and body not in entity_of_body:
            body = int(model.body_parentid[body])
        owners.append(entity_of_body.get(body, FLOOR_INDEX))
    return owners


def simulate(
    entities: tuple[Entity, ...], bodies: tuple[Body, ...], *, num_frames: int, fps: float
) -> Trajectory:
    """Let the entities move for `num_frames` frames, the first of them at rest time 0.

    Args:
        entities: things with their starting poses and velocities.
        bodies: their bodies, from `solids.build_body`.
        num_frames: number of frames.
        fps: frames a second.
    """
    substeps = math.ceil(1 / (fps * _MAX_TIMESTEP))
    step = 1 / (fps * substeps)
    model = mujoco.MjModel.from_xml_string(build_mujoco_xml(entities, bodies, step))
    data = mujoco.MjData(model)
    _set_initial_velocities(model, data, entities, bodies)
    body_of = {
        index: model.body(f"b{index}").id
        for index, entity in enumerate(entities)
        if not isinstance(entity.motion, CircularMotion | SpinMotion | RigidAttachment)
    }
    # Hinge joints (wheels) and free joints: the root body's linear velocity at its origin.
    touches = _ContactRecorder(_geom_owners(model, {body: index for index, body in body_of.items()}))
    everywhere = np.zeros((num_frames, model.nbody, 3)), np.zeros((num_frames, model.nbody, 9))
    speeds = np.zeros((num_frames, len(entities), 3))
    free = [
        (index, int(model.jnt_dofadr[model.joint(f"j{index}").id]))
        for index in body_of
        if not entities[index].fixed and entities[index].motion is None
    ]
    mujoco.mj_forward(model, data)
    contact, count = data.contact, 0
    for frame in range(num_frames):
        everywhere[0][frame], everywhere[1][frame] = data.xpos, data.xmat
        for index, dof in free:
            speeds[frame, index] = data.qvel[dof : dof + 3]
        if frame == num_frames - 1:
            break
        for substep in range(substeps):
            mujoco.mj_step(model, data)
            count = data.ncon
            if count:
                touches.record(contact.geom.tolist(), frame + (substep + 1) / substeps)
    return _build_trajectory(entities, bodies, model, body_of, everywhere, speeds, touches, fps)


def _build_trajectory(
    entities: tuple[Entity, ...],
    bodies: tuple[Body, ...],
    model: mujoco.MjModel,
    body_of: dict[int, int],
    body_poses: tuple[Float[np.ndarray, "f b 3"], Float[np.ndarray, "f b 9"]],
    velocities: Float[np.ndarray, "f n 3"],
    contact_recorder: _ContactRecorder,
    fps: float,
) -> Trajectory:
    places, turns = body_poses
    frames, count = len(places), len(entities)
    position, rotation = np.zeros((frames, count, 3)), np.zeros((frames, count, 3, 3))
    wheels: list[Float[np.ndarray, "f w 12"]] = []
    for index, body in body_of.items():
        position[:, index], rotation[:, index] = places[:, body], turns[:, body].reshape(frames, 3, 3)
    times = np.arange(frames) / fps
    for index, entity in enumerate(entities):
        if isinstance(entity.motion, CircularMotion | SpinMotion):
            position[:, index], rotation[:, index] = kinematic_poses(entity, times)
        elif isinstance(entity.motion, RigidAttachment):
            leader = entity.motion.entity
            position[:, index] = position[:, leader] + rotation[:, leader] @ np.array(entity.motion.position)
            rotation[:, index] = rotation[:, leader] @ quat_to_matrix(entity.motion.rotation)
        if entity.motion is not None and frames > 1:
            velocities[:, index] = np.gradient(position[:, index], axis=0) * fps
        if index in body_of:
            numbers = [model.body(f"b{index}w{k}").id for k in range(len(bodies[index].wheels))]
            wheels.append(np.concatenate([places[:, numbers], turns[:, numbers]], axis=2))
        else:
            carried = np.array([wheel.position for wheel in bodies[index].wheels]).reshape(-1, 3)
            hubs = position[:, index, None] + np.einsum("fij,wj->fwi", rotation[:, index], carried)
            facing = np.repeat(rotation[:, index].reshape(frames, 1, 9), len(carried), axis=1)
            wheels.append(np.concatenate([hubs, facing], axis=2))
    return Trajectory(
        fps=fps,
        position=position,
        rotation=rotation,
        velocity=velocities,
        wheels=tuple(wheels),
        contacts=contact_recorder.contacts(floor=False),
        floor_contacts=contact_recorder.contacts(floor=True),
    )


def kinematic_poses(
    entity: Entity, times: Float[np.ndarray, " f"]
) -> tuple[Float[np.ndarray, "f 3"], Float[np.ndarray, "f 3 3"]]:
    """Positions and rotations of a circling or spinning entity at the given times in seconds."""
    places, turns = [], []
    for time in times.tolist():
        match entity.motion:
            case CircularMotion() as way:
                angle = way.phase + 2 * math.pi * time / way.period
                x, y, z = way.centre
                place = (
                    x + way.radius * math.cos(angle),
                    y + way.radius * math.sin(angle),
                    z + way.bob * math.sin(2 * angle),
                )
                pose = quat_mul(quat_from_axis_angle((0.0, 0.0, 1.0), angle), entity.rotation)
            case SpinMotion() as way:
                angle = 2 * math.pi * time / way.period
                x, y, z = entity.position
                place = (x, y, z + way.bob * math.sin(2 * time))
                tilted = quat_mul(quat_from_axis_angle((1.0, 0.0, 0.0), way.tilt), entity.rotation)
                pose = quat_mul(quat_from_axis_angle((0.0, 0.0, 1.0), angle), tilted)
            case _:
                raise ValueError(f"a {entity.shape} that is not moved by hand has no path")
        places.append(place)
        turns.append(quat_to_matrix(pose))
    return np.array(places), np.array(turns)
