"""Rigid-body simulation with MuJoCo: from entities to poses and contacts.

Every simulation builds a new model and data, so its result depends only on its arguments.
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
"""Index of the floor in contacts."""

_MAX_TIMESTEP = 1.25e-3
"""Seconds. With twice this value and the implicit integrator, some cylinders left the floor on their own."""
_CONTACT_STIFFNESS = 30000.0
"""Per second squared. A contact lasts about pi / sqrt(stiffness) = 18 ms, about fourteen steps."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Trajectory:
    """The simulated motion. Axes: f frames, n entities."""

    fps: float
    position: Float[np.ndarray, "f n 3"]
    rotation: Float[np.ndarray, "f n 3 3"]
    velocity: Float[np.ndarray, "f n 3"]
    wheels: tuple[Float[np.ndarray, "f w 12"], ...]
    """For each entity, positions (3) and rotations (9) of its wheels."""
    contacts: tuple[Contact, ...]
    """Contacts between entities in order of time; `a` is the lower index."""
    floor_contacts: tuple[Contact, ...]
    """Contacts with the floor; `a` is FLOOR_INDEX."""

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
        """The trajectory with left and right exchanged. Only for scenes without wheels."""
        flip = np.array([-1.0, 1.0, 1.0])
        return replace(
            self,
            position=self.position * flip,
            rotation=self.rotation * (flip[:, None] * flip),
            velocity=self.velocity * flip,
        )

    def upright(self) -> Float[np.ndarray, "f n"]:
        """Cosine between world up and the entity axis that pointed up in the first frame."""
        first = self.rotation[0]
        # Element (2, 2) of R_f R_0^T.
        return np.einsum("fnk,nk->fn", self.rotation[:, :, 2, :], first[:, 2, :])


def _contact_damping(restitution: float) -> float:
    """The damping, in MuJoCo's direct solref form, of a contact with the given restitution.

    A spring-damper with damping ratio z returns exp(-pi z / sqrt(1 - z^2)) of the speed. The constant factor
    was measured; it compensates MuJoCo's impedance, which softens the nominal damping.
    """
    log = math.log(max(restitution, 0.01))
    ratio = -log / math.sqrt(math.pi**2 + log**2)
    return 2 * ratio * math.sqrt(_CONTACT_STIFFNESS) * 1.04


def _format_numbers(values: tuple[float, ...]) -> str:
    return " ".join(repr(float(v)) for v in values)


def _geom_xml(geom: CollisionGeom, entity: Entity, mesh: str, collides: bool) -> str:
    properties = MATERIAL_PROPERTIES[entity.material]
    density = geom.density or entity.density or properties.density
    friction = geom.friction or (properties.friction if entity.friction is None else entity.friction)
    restitution = properties.restitution if entity.restitution is None else entity.restitution
    size = f'size="{_format_numbers(geom.size)}"' if geom.size else f'mesh="{mesh}"'
    # Rolling friction needs the six-dimensional contact, which is slower.
    dimensions = 6 if entity.rolling_friction else 3
    collision_mask = "" if collides else 'contype="0" conaffinity="0"'
    return (
        f'<geom type="{geom.type}" {size} pos="{_format_numbers(geom.position)}" '
        f'quat="{_format_numbers(geom.rotation)}" density="{density}" '
        f'friction="{friction} 0.005 {entity.rolling_friction}" condim="{dimensions}" {collision_mask} '
        f'solref="{-_CONTACT_STIFFNESS} {-_contact_damping(restitution)!r}"/>'
    )


def _joint_xml(index: int, entity: Entity) -> str:
    match entity.motion:
        case Hinge(axis=axis, anchor=anchor, damping=damping, limit=limit):
            bounds = "" if limit is None else f'range="{-limit} {limit}" limited="true"'
            return (
                f'<joint name="j{index}" type="hinge" axis="{_format_numbers(axis)}" '
                f'pos="{_format_numbers(anchor)}" damping="{damping}" {bounds}/>'
            )
        case None if not entity.fixed:
            return f'<freejoint name="j{index}"/>'
    return ""


def build_mujoco_xml(entities: tuple[Entity, ...], entity_bodies: tuple[Body, ...], timestep: float) -> str:
    """Write the MuJoCo model of a scene."""
    assets, bodies, exclusions = [], [], []
    for index, (entity, body) in enumerate(zip(entities, entity_bodies, strict=True)):
        if isinstance(entity.motion, CircularMotion | SpinMotion | RigidAttachment):
            continue
        collides = entity.shape != "rod"
        geoms = []
        for number, geom in enumerate(body.collision_geoms):
            mesh = f"m{index}_{number}"
            if geom.vertices is not None:
                corners = _format_numbers(tuple(geom.vertices.ravel().tolist()))
                assets.append(f'<mesh name="{mesh}" vertex="{corners}" inertia="convex"/>')
            geoms.append(_geom_xml(geom, entity, mesh, collides))
        for number, wheel in enumerate(body.wheels):
            geoms.append(
                f'<body name="b{index}w{number}" pos="{_format_numbers(wheel.position)}">'
                f'<joint type="hinge" axis="0 1 0" damping="0.0001"/>'
                f"{_geom_xml(wheel.collision_geom, entity, '', True)}</body>"
            )
        bodies.append(
            f'<body name="b{index}" pos="{_format_numbers(entity.position)}" '
            f'quat="{_format_numbers(entity.rotation)}">'
            f"{_joint_xml(index, entity)}{''.join(geoms)}</body>"
        )
        if isinstance(entity.motion, Hinge):
            exclusions += [
                f'<exclude body1="b{index}" body2="b{other_index}"/>'
                for other_index, other_entity in enumerate(entities)
                if other_entity.shape == "pivot"
            ]
    return (
        f'<mujoco><option timestep="{timestep!r}" gravity="0 0 {-GRAVITY}" integrator="Euler" '
        # With the default tolerance the solver stops too early: heavy objects creep down slopes.
        'cone="elliptic" impratio="3" tolerance="1e-12"/><size memory="16M"/><compiler angle="radian" '
        'balanceinertia="true" boundmass="0.0001" boundinertia="0.0000001"/>'
        f"<asset>{''.join(assets)}</asset><worldbody>"
        # MuJoCo takes the larger friction of two surfaces; the low value of the floor leaves it to the
        # objects.
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
            # The angular velocity of a free joint is in the body frame.
            data.qvel[dof + 3 : dof + 6] = quat_to_matrix(entity.rotation).T @ np.array(
                entity.angular_velocity
            )
            for number, wheel in enumerate(bodies[index].wheels):
                forward = float(quat_to_matrix(entity.rotation)[:, 0] @ np.array(entity.velocity))
                wheel_dof = model.jnt_dofadr[model.body(f"b{index}w{number}").jntadr[0]]
                data.qvel[wheel_dof] = forward / wheel.collision_geom.size[2]


class _ContactRecorder:
    """Records the first and last time of each contact while a simulation runs."""

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
    """Simulate the motion of the entities.

    Args:
        entities: the entities with initial poses and velocities.
        bodies: their bodies, from `body_builder.build_body`.
        num_frames: number of frames; the first one is at time 0.
        fps: frames per second.
    """
    substeps = math.ceil(1 / (fps * _MAX_TIMESTEP))
    timestep = 1 / (fps * substeps)
    model = mujoco.MjModel.from_xml_string(build_mujoco_xml(entities, bodies, timestep))
    data = mujoco.MjData(model)
    _set_initial_velocities(model, data, entities, bodies)
    body_ids = {
        index: model.body(f"b{index}").id
        for index, entity in enumerate(entities)
        if not isinstance(entity.motion, CircularMotion | SpinMotion | RigidAttachment)
    }
    # The linear velocity of the root body at its origin, for free joints and wheels.
    recorder = _ContactRecorder(_geom_owners(model, {body: index for index, body in body_ids.items()}))
    body_poses = np.zeros((num_frames, model.nbody, 3)), np.zeros((num_frames, model.nbody, 9))
    velocities = np.zeros((num_frames, len(entities), 3))
    free = [
        (index, int(model.jnt_dofadr[model.joint(f"j{index}").id]))
        for index in body_ids
        if not entities[index].fixed and entities[index].motion is None
    ]
    mujoco.mj_forward(model, data)
    contact, count = data.contact, 0
    for frame in range(num_frames):
        body_poses[0][frame], body_poses[1][frame] = data.xpos, data.xmat
        for index, dof in free:
            velocities[frame, index] = data.qvel[dof : dof + 3]
        if frame == num_frames - 1:
            break
        for substep in range(substeps):
            mujoco.mj_step(model, data)
            count = data.ncon
            if count:
                recorder.record(contact.geom.tolist(), frame + (substep + 1) / substeps)
    return _build_trajectory(entities, bodies, model, body_ids, body_poses, velocities, recorder, fps)


def _build_trajectory(
    entities: tuple[Entity, ...],
    bodies: tuple[Body, ...],
    model: mujoco.MjModel,
    body_ids: dict[int, int],
    body_poses: tuple[Float[np.ndarray, "f b 3"], Float[np.ndarray, "f b 9"]],
    velocities: Float[np.ndarray, "f n 3"],
    contact_recorder: _ContactRecorder,
    fps: float,
) -> Trajectory:
    positions, rotations = body_poses
    frames, count = len(positions), len(entities)
    position, rotation = np.zeros((frames, count, 3)), np.zeros((frames, count, 3, 3))
    wheels: list[Float[np.ndarray, "f w 12"]] = []
    for index, body in body_ids.items():
        position[:, index], rotation[:, index] = positions[:, body], rotations[:, body].reshape(frames, 3, 3)
    times = np.arange(frames) / fps
    for index, entity in enumerate(entities):
        if isinstance(entity.motion, CircularMotion | SpinMotion):
            position[:, index], rotation[:, index] = kinematic_poses(entity, times)
        elif isinstance(entity.motion, RigidAttachment):
            parent = entity.motion.entity
            position[:, index] = position[:, parent] + rotation[:, parent] @ np.array(entity.motion.position)
            rotation[:, index] = rotation[:, parent] @ quat_to_matrix(entity.motion.rotation)
        if entity.motion is not None and frames > 1:
            velocities[:, index] = np.gradient(position[:, index], axis=0) * fps
        if index in body_ids:
            wheel_bodies = [model.body(f"b{index}w{k}").id for k in range(len(bodies[index].wheels))]
            wheels.append(np.concatenate([positions[:, wheel_bodies], rotations[:, wheel_bodies]], axis=2))
        else:
            wheel_offsets = np.array([wheel.position for wheel in bodies[index].wheels]).reshape(-1, 3)
            wheel_positions = position[:, index, None] + np.einsum(
                "fij,wj->fwi", rotation[:, index], wheel_offsets
            )
            wheel_rotations = np.repeat(rotation[:, index].reshape(frames, 1, 9), len(wheel_offsets), axis=1)
            wheels.append(np.concatenate([wheel_positions, wheel_rotations], axis=2))
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
    """Positions and rotations of a circling or spinning entity at the given times, seconds."""
    positions, rotations = [], []
    for time in times.tolist():
        match entity.motion:
            case CircularMotion() as motion:
                angle = motion.phase + 2 * math.pi * time / motion.period
                x, y, z = motion.centre
                position = (
                    x + motion.radius * math.cos(angle),
                    y + motion.radius * math.sin(angle),
                    z + motion.bob * math.sin(2 * angle),
                )
                orientation = quat_mul(quat_from_axis_angle((0.0, 0.0, 1.0), angle), entity.rotation)
            case SpinMotion() as motion:
                angle = 2 * math.pi * time / motion.period
                x, y, z = entity.position
                position = (x, y, z + motion.bob * math.sin(2 * time))
                tilted = quat_mul(quat_from_axis_angle((1.0, 0.0, 0.0), motion.tilt), entity.rotation)
                orientation = quat_mul(quat_from_axis_angle((0.0, 0.0, 1.0), angle), tilted)
            case _:
                raise ValueError(f"a {entity.shape} has no prescribed motion")
        positions.append(position)
        rotations.append(quat_to_matrix(orientation))
    return np.array(positions), np.array(rotations)
