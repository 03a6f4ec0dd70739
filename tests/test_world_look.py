"""Materials, skies, floors, scenery: what rows hold, that assets are whole, that colours keep their names."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.errors import UserError
from kinema.world.look import pictures
from kinema.world.look.colours import COLOURS, encoded, lab, linear
from kinema.world.look.decor import DECORS, WALLS, decor
from kinema.world.look.floors import FLOORS, floor_look
from kinema.world.look.lab import LAB_COLOURS, LAB_SETTING
from kinema.world.look.material import MaterialTable, material
from kinema.world.look.skies import SKIES, sky_look
from kinema.world.render.camera import camera_row
from kinema.world.render.scene import BACKGROUND, Kind, Placed, Primitive, Scene
from kinema.world.render.tracer import render


def balls(colours, sky, floor, height=48):
    """Mean display colour of plastic balls, seen one by one."""
    table = MaterialTable()
    rows = [table.add(material("plastic", colour)) for colour in colours]
    means = []
    for row in rows:
        ball = Primitive(kind=Kind.SPHERE, size=(0.5, 0, 0), material=row, occlusion=0.5)
        place, turn = np.array([[0, 0, 0.5]]), np.eye(3)[None]
        thing = Placed(identity=1, primitives=(ball,), position=place, rotation=turn)
        made = render(
            Scene(
                placed=(thing,), materials=table.array(), sky=sky, sky_seed=5, floor=floor, floor_seed=0,
                cameras=camera_row((0, -4, 1.2), (0, 0, 0.5), 24)[None],
            ),
            height, height, objects=True,
        )  # fmt: skip
        means.append(np.median(made.frames[0][made.identities[0] == 1], 0) / 255)
    return np.array(means)


def test_lab_colours_are_far_apart_as_rendered():
    seen = lab(balls(LAB_COLOURS, LAB_SETTING.sky, LAB_SETTING.floor))
    apart = np.linalg.norm(seen[:, None] - seen[None], axis=-1)
    assert apart[np.triu_indices(8, 1)].min() > 25
    floor = lab(np.full(3, 0.8))
    assert (np.linalg.norm(seen[:, 1:] - floor[1:], axis=-1) > 25).all()


@pytest.mark.parametrize("sky", SKIES)
def test_hues_keep_their_names_under_every_sky(sky):
    hues = ("red", "yellow", "green", "blue")
    seen = balls(hues, sky, SKIES[sky].floors[0], 24)
    angle = [np.arctan2(*lab(c)[[2, 1]]) for c in seen]
    true = [np.arctan2(*lab(np.array(COLOURS[h]))[[2, 1]]) for h in hues]
    for a, t in zip(angle, true, strict=True):
        assert abs((a - t + np.pi) % (2 * np.pi) - np.pi) < np.radians(40)
    assert (seen.max(-1) > 0.2).all()


@pytest.mark.parametrize("sky", ["clear blue sky", "sunset", "studio"])
def test_a_wall_behind_the_scene_leaves_it_in_the_light(sky):
    def ground(seed, walled):
        table = MaterialTable()
        wall = decor("wall", np.random.default_rng(0), table, wall="plain") if walled else ()
        scene = Scene(
            placed=wall, materials=table.array(), sky=sky, sky_seed=seed, floor="plain floor", floor_seed=0,
            cameras=camera_row((0, -3, 1.2), (0, 0, 0), 12)[None],
        )  # fmt: skip
        return float(render(scene, 16, 16).frames.mean())

    for seed in range(12):
        assert ground(seed, walled=True) > 0.9 * ground(seed, walled=False), seed


@pytest.mark.parametrize("sky", SKIES)
def test_the_side_that_is_filmed_is_not_the_dark_one(sky):
    for seed in range(40):
        look = sky_look(sky, seed)
        assert np.sin(np.arctan2(look.sun[1], look.sun[0]) + look.yaw) < 1e-6


def test_black_is_not_a_hole():
    table = MaterialTable()
    ball = Primitive(
        kind=Kind.SPHERE, size=(0.5, 0, 0), material=table.add(material("clay", "black")), occlusion=0.5
    )
    thing = Placed(identity=1, primitives=(ball,), position=np.array([[0, 0, 0.5]]), rotation=np.eye(3)[None])
    made = render(
        Scene(
            placed=(thing,), materials=table.array(), sky="clear blue sky", sky_seed=5, floor="plain floor",
            floor_seed=0, cameras=camera_row((0, -4, 1.2), (0, 0, 0.5), 24)[None],
        ),
        48, 48, objects=True,
    )  # fmt: skip
    seen = made.frames[0][made.identities[0] == 1].mean(-1)
    # Light and shade on it tell that it is round; and it stays black.
    assert np.percentile(seen, 90) - np.percentile(seen, 10) > 12
    assert np.median(seen) < 60


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.05, 4.0))
def test_pictures_are_stored_within_two_percent(seed, scale):
    light = (np.random.default_rng(seed).random((8, 16, 3)) * scale).astype(np.float32)
    back = pictures.decode(pictures.encode(light))
    large = light > pictures.KNEE
    assert np.abs(back - light)[large].max(initial=0) <= 0.025 * scale
    assert (np.abs(back - light)[large] / light[large]).max(initial=0) < 0.025


def test_eighteen_photographs_are_whole():
    names = {sky.picture for sky in SKIES.values() if sky.picture}
    assert len(names) == 18
    for name in names:
        radiance, light = pictures.load(name)
        assert radiance.shape == (256, 512, 3)
        assert np.isfinite(radiance).all()
        assert radiance.min() >= 0
        assert radiance[:128].mean() > 0.1
        assert np.linalg.norm(light[:3]) == pytest.approx(1, abs=1e-4)
        assert light[3:6].min() > 0


def test_nine_skies_are_painted_and_suit_floors_that_exist():
    assert sum(not sky.picture for sky in SKIES.values()) == 9
    assert len(FLOORS) == 12
    for name, sky in SKIES.items():
        assert sky.floors
        assert set(sky.floors) <= set(FLOORS)
        look = sky_look(name, 12)
        assert np.isfinite(look.radiance).all()
        assert np.linalg.norm(look.sun) == pytest.approx(1)
    assert set().union(*(sky.floors for sky in SKIES.values())) == set(FLOORS)


@pytest.mark.parametrize("name", FLOORS)
def test_floors_tile_and_shrink_to_their_mean(name):
    look = floor_look(name, 3)
    image = look.texture[: 256 * 256].reshape(256, 256, 3)
    assert look.texture.shape == (sum(4**k for k in range(9)), 3)
    np.testing.assert_allclose(look.texture[-1], image.mean((0, 1)), rtol=1e-3)
    inner = np.abs(np.diff(image, axis=1)).mean((0, 2))
    assert np.abs(image[:, 0] - image[:, -1]).mean() <= 3 * np.percentile(inner, 99) + 0.02
    assert (floor_look(name, 3).texture == look.texture).all()


@pytest.mark.parametrize("kind", DECORS)
def test_scenery_is_background_and_out_of_the_way(kind):
    for seed in range(5):
        table = MaterialTable()
        made = decor(kind, np.random.default_rng(seed), table, night=bool(seed % 2))
        again = decor(kind, np.random.default_rng(seed), MaterialTable(), night=bool(seed % 2))
        assert len(made) == (kind != "plain")
        for thing, twin in zip(made, again, strict=True):
            assert thing.identity == BACKGROUND
            assert len(thing.primitives) == len(twin.primitives)
            for solid in thing.primitives:
                assert solid.position[1] >= 2.4
                assert 0 <= solid.material < len(table.rows)


def test_walls_are_as_asked_for():
    rows = []
    for wall in WALLS:
        table = MaterialTable()
        decor("wall", np.random.default_rng(1), table, wall=wall)
        rows.append(int(table.rows[0][6]))
    assert len(set(rows)) == 4


def test_material_rows():
    assert material("plastic", "red").shape == (16,)
    np.testing.assert_allclose(material("clay", "blue")[:3], linear(COLOURS["blue"]), rtol=1e-5)
    assert material("metal", "red")[9] == 1
    assert material("glass", "red")[14] < 1
    table = MaterialTable()
    assert [table.add(material("wood")), table.add(material("marble")), table.add(material("wood"))] == [
        0,
        1,
        0,
    ]
    with pytest.raises(UserError, match="did you mean 'red'"):
        material("plastic", "redd")
    with pytest.raises(UserError, match="materials are"):
        material("chrome", "red")
    with pytest.raises(UserError, match="patterns are"):
        material("plastic", "red", "blue", "dotted")
    with pytest.raises(UserError, match="decors are"):
        decor("jungle", np.random.default_rng(0), table)


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3))
def test_srgb_goes_and_comes_back(colour):
    np.testing.assert_allclose(encoded(linear(colour)), colour, atol=1e-4)


def test_lab_of_known_colours():
    np.testing.assert_allclose(lab(np.ones(3)), [100, 0, 0], atol=0.05)
    np.testing.assert_allclose(lab(np.array([1.0, 0, 0])), [53.24, 80.09, 67.20], atol=0.1)
