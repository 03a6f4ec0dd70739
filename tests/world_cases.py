"""Hand-made clip facts, for tests that need no simulation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from kinema.world.facts import Claim, ClipFacts, Contact, EntityFacts, Setting, Tracks

FRAMES = 25


def entity(index: int, shape: str, colour: str | None, **more) -> EntityFacts:
    fields = {"role": "main" if index == 0 else "partner", "size": "medium", "material": "plastic"} | more
    return EntityFacts(index=index, shape=shape, colour=colour, **fields)  # pyrefly: ignore


def camera() -> np.ndarray:
    """Five metres in front of the origin, looking along +y, a little above the floor."""
    row = np.array([0, -5, 0.5, 1, 0, 0, 0, 0, 1, 0, 1, 0, 0.5], dtype=float)
    return np.tile(row, (FRAMES, 1))


def turned(paths: np.ndarray, balls: tuple[int, ...]) -> np.ndarray:
    """Rotations of things of which some roll along x without slipping."""
    rotation = np.tile(np.eye(3), (*paths.shape[:2], 1, 1))
    for ball in balls:
        angle = (paths[:, ball, 0] - paths[0, ball, 0]) / 0.36
        rotation[:, ball, 0, 0] = rotation[:, ball, 2, 2] = np.cos(angle)
        rotation[:, ball, 0, 2], rotation[:, ball, 2, 0] = np.sin(angle), -np.sin(angle)
    return rotation


def tracks(paths: np.ndarray, upright: np.ndarray | None = None, balls: tuple[int, ...] = ()) -> Tracks:
    """From positions `f n 3`, seen by `camera()`."""
    frames, things, _ = paths.shape
    depth = paths[..., 1] + 5
    screen = np.stack([0.5 + paths[..., 0] / depth, 0.5 - (paths[..., 2] - 0.5) / depth], -1)
    radius = 0.36 / depth
    box = np.stack(
        [screen[..., 0] - radius, screen[..., 1] - radius, screen[..., 0] + radius, screen[..., 1] + radius],
        -1,
    )
    return Tracks(
        position=paths,
        rotation=turned(paths, balls),
        velocity=np.gradient(paths, axis=0) * 12 if frames > 1 else np.zeros_like(paths),
        upright=np.ones((frames, things)) if upright is None else upright,
        screen=screen,
        depth=depth,
        radius=radius,
        pixels=np.full((frames, things), 100),
        box=np.clip(box, 0, 1),
    )


def straight(*ends: tuple[tuple[float, float, float], tuple[float, float, float]]) -> np.ndarray:
    """Each thing goes evenly from its first to its second point, and rests there for a while."""
    s = np.minimum(1, np.linspace(0, 1.3, FRAMES))[:, None, None]
    first = np.array([a for a, _ in ends], dtype=float)
    last = np.array([b for _, b in ends], dtype=float)
    return first + s * (last - first)


def clip(
    event: str,
    entities: tuple[EntityFacts, ...],
    claims: tuple[Claim, ...],
    paths: np.ndarray,
    *,
    seed: int = 0,
    contacts: tuple[Contact, ...] = (),
    upright: np.ndarray | None = None,
    move: str = "static",
    **more,
) -> ClipFacts:
    facts = ClipFacts(
        seed=seed,
        lab=True,
        event=event,  # pyrefly: ignore
        outcome="",
        fps=12.0,
        height=128,
        width=128,
        entities=entities,
        tracks=tracks(paths, upright, tuple(e.index for e in entities if e.shape == "ball")),
        contacts=contacts,
        claims=(*claims, Claim(kind="camera", value=move)),
        event_frame=12,
        camera=move,  # pyrefly: ignore
        cameras=camera(),
        setting=Setting(sky="clear blue sky", floor="grass", decor="trees"),
    )
    return replace(facts, **more)


def rolling(**more) -> ClipFacts:
    """A red ball rolls to the left and stops."""
    return clip(
        "roll",
        (entity(0, "ball", "red"),),
        (
            Claim(kind="moves", subject=0, value="left"),
            Claim(kind="speed", subject=0, value="slowly"),
            Claim(kind="stops", subject=0),
        ),
        straight(((0.6, 0, 0.36), (-0.6, 0, 0.36))),
        **more,
    )


def colliding(**more) -> ClipFacts:
    """An orange ball rolls to the right and hits a cyan cube, which is pushed to the right."""
    paths = straight(((-1.5, 0, 0.36), (0.0, 0, 0.36)), ((0.6, 0, 0.36), (0.6, 0, 0.36)))
    paths[19:, 1, 0] += np.linspace(0.1, 0.5, FRAMES - 19)
    return clip(
        "collide",
        (entity(0, "ball", "orange"), entity(1, "cube", "cyan")),
        (
            Claim(kind="moves", subject=0, value="right"),
            Claim(kind="hits", subject=0, object=1),
            Claim(kind="pushed", subject=1, value="right"),
            Claim(kind="stops", subject=0),
        ),
        paths,
        contacts=(Contact(a=0, b=1, first=19.0, last=19.5),),
        **more,
    )


def missing(**more) -> ClipFacts:
    """A green car drives past a blue cone without touching it."""
    return clip(
        "collide",
        (entity(0, "car", "green"), entity(1, "cone", "blue")),
        (Claim(kind="moves", subject=0, value="right"), Claim(kind="misses", subject=0, object=1)),
        straight(((-1.5, 0, 0.36), (1.4, 0, 0.36)), ((0.2, 1.2, 0.36), (0.2, 1.2, 0.36))),
        **more,
    )


def hiding(**more) -> ClipFacts:
    """A pink ball disappears behind a gray screen and reappears on the right."""
    return clip(
        "occlude",
        (entity(0, "ball", "pink"), entity(1, "screen", "gray", role="prop", fixed=True)),
        (
            Claim(kind="moves", subject=0, value="right"),
            Claim(kind="hides", subject=0, object=1),
            Claim(kind="re-emerges", subject=0, object=1, value="right"),
        ),
        straight(((-1.5, 1, 0.36), (1.5, 1, 0.36)), ((0, 0, 0.7), (0, 0, 0.7))),
        **more,
    )


def standing_beside(**more) -> ClipFacts:
    """A green cube stands to the left of a blue cone."""
    return clip(
        "still",
        (entity(0, "cube", "green"), entity(1, "cone", "blue")),
        (Claim(kind="left of", subject=0, object=1), Claim(kind="right of", subject=1, object=0)),
        straight(((-0.7, 0, 0.36),) * 2, ((0.7, 0, 0.36),) * 2),
        **more,
    )


def tower(fallen: int = 4, **more) -> ClipFacts:
    """A purple ball rolls into a tower of four blocks."""
    blocks = tuple(
        entity(k, "block", "red", role="prop", named=False, group="tower", size="small") for k in range(1, 5)
    )
    paths = straight(((-1.5, 0, 0.36), (0, 0, 0.36)), *[((0.4, 0, 0.24 + 0.48 * k),) * 2 for k in range(4)])
    for k in range(4 - fallen, 4):
        paths[-1, k + 1, 2] = 0.24
        paths[-1, k + 1, 0] += 1
    end = (
        Claim(kind="fallen", group="tower", value=str(fallen))
        if fallen
        else Claim(kind="stands", group="tower")
    )
    return clip(
        "tower",
        (entity(0, "ball", "purple"), *blocks),
        (
            Claim(kind="count", group="tower", value="4"),
            Claim(kind="moves", subject=0, value="right"),
            Claim(kind="hits", subject=0, group="tower"),
            end,
        ),
        paths,
        contacts=(Contact(a=0, b=1, first=18.0, last=18.2),),
        **more,
    )


def dominoes(fallen: int = 4, number: int = 7, **more) -> ClipFacts:
    """A row of dominoes topples from the left; the chain may stop at a gap."""
    things = tuple(
        entity(k, "domino", ("red", "blue")[k % 2], role="main", named=False, group="dominoes")
        for k in range(number)
    )
    along = [-1.4 + 0.36 * k + (0.7 if k >= fallen else 0.0) for k in range(number)]
    upright = np.ones((FRAMES, number))
    upright[-1, :fallen] = 0.2
    ending = (
        ()
        if fallen == number
        else (
            Claim(kind="chain stops", group="dominoes"),
            Claim(kind="fallen", group="dominoes", value=str(fallen)),
        )
    )
    return clip(
        "domino",
        things,
        (
            Claim(kind="count", group="dominoes", value=str(number)),
            Claim(kind="topple", group="dominoes", value="left"),
            *ending,
        ),
        straight(*[((x, 0, 0.42),) * 2 for x in along]),
        upright=upright,
        **more,
    )


def counting(**more) -> ClipFacts:
    """Three red cubes."""
    things = tuple(entity(k, "cube", "red", named=False, group="count") for k in range(3))
    return clip(
        "count",
        things,
        (Claim(kind="count", group="count", value="3"),),
        straight(*[((x, 0, 0.36),) * 2 for x in (-1.0, 0.0, 1.0)]),
        **more,
    )


def in_a_row(number: int = 3, **more) -> ClipFacts:
    """Three or four things side by side."""
    kinds = (("cube", "green"), ("cone", "blue"), ("ball", "red"), ("cylinder", "pink"))[:number]
    pairs = tuple(Claim(kind="left of", subject=k, object=k + 1) for k in range(number - 1))
    whole = (
        Claim(kind="middle", subject=1)
        if number == 3
        else Claim(kind="in a row", subject=0, object=number - 1)
    )
    return clip(
        "still",
        tuple(entity(k, shape, colour) for k, (shape, colour) in enumerate(kinds)),
        (*pairs, whole),
        straight(*[((x, 0, 0.36),) * 2 for x in np.linspace(-1.2, 1.2, number)]),
        **more,
    )


ALL = (rolling, colliding, missing, hiding, standing_beside, tower, dominoes, counting, in_a_row)
