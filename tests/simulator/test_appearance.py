"""Materials, skies, floors, scenery: what rows hold, that assets are whole, that colours keep their names."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.errors import UserError
from kinema.simulator.appearance import hdri
from kinema.simulator.appearance.backgrounds import BACKGROUNDS, WALLS, build_background
from kinema.simulator.appearance.colours import COLOURS, linear_to_srgb, srgb_to_lab, srgb_to_linear
from kinema.simulator.appearance.environments import SKIES, build_sky_lighting
from kinema.simulator.appearance.floors import FLOORS, build_floor_texture
from kinema.simulator.appearance.material import MaterialTable, material_row
from kinema.simulator.attributes import LAB_COLOURS
from kinema.simulator.render.camera import camera_row
from kinema.simulator.render.scene import BACKGROUND_ID, PosedObject, Primitive, PrimitiveKind, RenderScene
from kinema.simulator.render.tracer import render
from kinema.simulator.render_scene import LAB_ENVIRONMENT


def render_ball_colours(colours, sky, floor, height=48):
    """Mean display colour of plastic balls, seen one by one."""
    table = MaterialTable()
    rows = [table.add(material_row("plastic", colour)) for colour in colours]
    means = []
    for row in rows:
        ball = Primitive(kind=PrimitiveKind.SPHERE, size=(0.5, 0, 0), material=row, occlusion=0.5)
        place, turn = np.array([[0, 0, 0.5]]), np.eye(3)[None]
        posed = PosedObject(object_id=1, primitives=(ball,), position=place, rotation=turn)
        rendered = render(
            RenderScene(
                objects=(posed,), materials=table.array(), sky=sky, sky_seed=5, floor=floor, floor_seed=0,
                cameras=camera_row((0, -4, 1.2), (0, 0, 0.5), 24)[None],
            ),
            height, height, object_ids=True,
        )  # fmt: skip
        means.append(np.median(rendered.frames[0][rendered.object_ids[0] == 1], 0) / 255)
    return np.array(means)


def test_lab_colours_are_far_apart_as_rendered():
    colours = srgb_to_lab(render_ball_colours(LAB_COLOURS, LAB_ENVIRONMENT.sky, LAB_ENVIRONMENT.floor))
    distances = np.linalg.norm(colours[:, None] - colours[None], axis=-1)
    assert distances[np.triu_indices(8, 1)].min() > 25
    floor = srgb_to_lab(np.full(3, 0.8))
    assert (np.linalg.norm(colours[:, 1:] - floor[1:], axis=-1) > 25).all()


@pytest.mark.parametrize("sky", SKIES)
def test_hues_keep_their_names_under_every_sky(sky):
    hues = ("red", "yellow", "green", "blue")
    colours = render_ball_colours(hues, sky, SKIES[sky].floors[0], 24)
    angle = [np.arctan2(*srgb_to_lab(c)[[2, 1]]) for c in colours]
    true = [np.arctan2(*srgb_to_lab(np.array(COLOURS[h]))[[2, 1]]) for h in hues]
    for a, t in zip(angle, true, strict=True):
        assert abs((a - t + np.pi) % (2 * np.pi) - np.pi) < np.radians(40)
    assert (colours.max(-1) > 0.2).all()


@pytest.mark.parametrize("sky", ["clear blue sky", "sunset", "studio"])
def test_a_wall_behind_the_scene_leaves_it_in_the_light(sky):
    def ground(seed, walled):
        table = MaterialTable()
        wall = build_background("wall", np.random.default_rng(0), table, wall="plain") if walled else ()
        scene = RenderScene(
            objects=wall, materials=table.array(), sky=sky, sky_seed=seed, floor="plain floor", floor_seed=0,
            cameras=camera_row((0, -3, 1.2), (0, 0, 0), 12)[None],
        )  # fmt: skip
        return float(render(scene, 16, 16).frames.mean())

    for seed in range(12):
        assert ground(seed, walled=True) > 0.9 * ground(seed, walled=False), seed


@pytest.mark.parametrize("sky", SKIES)
def test_sun_lights_the_visible_side(sky):
    for seed in range(40):
        look = build_sky_lighting(sky, seed)
        assert np.sin(np.arctan2(look.sun[1], look.sun[0]) + look.yaw) < 1e-6


def test_black_objects_keep_shading():
    table = MaterialTable()
    ball = Primitive(
        kind=PrimitiveKind.SPHERE,
        size=(0.5, 0, 0),
        material=table.add(material_row("clay", "black")),
        occlusion=0.5,
    )
    posed = PosedObject(
        object_id=1, primitives=(ball,), position=np.array([[0, 0, 0.5]]), rotation=np.eye(3)[None]
    )
    rendered = render(
        RenderScene(
            objects=(posed,), materials=table.array(), sky="clear blue sky", sky_seed=5, floor="plain floor",
            floor_seed=0, cameras=camera_row((0, -4, 1.2), (0, 0, 0.5), 24)[None],
        ),
        48, 48, object_ids=True,
    )  # fmt: skip
    colours = rendered.frames[0][rendered.object_ids[0] == 1].mean(-1)
    # Light and shade on it tell that it is round; and it stays black.
    assert np.percentile(colours, 90) - np.percentile(colours, 10) > 12
    assert np.median(colours) < 60


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.05, 4.0))
def test_hdri_round_trip_within_two_percent(seed, scale):
    light = (np.random.default_rng(seed).random((8, 16, 3)) * scale).astype(np.float32)
    back = hdri.decode(hdri.encode(light))
    large = light > hdri.LOG_KNEE
    assert np.abs(back - light)[large].max(initial=0) <= 0.025 * scale
    assert (np.abs(back - light)[large] / light[large]).max(initial=0) < 0.025


def test_eighteen_hdris_are_complete():
    names = {sky.hdri for sky in SKIES.values() if sky.hdri}
    assert len(names) == 18
    for name in names:
        radiance, light = hdri.load(name)
        assert radiance.shape == (256, 512, 3)
        assert np.isfinite(radiance).all()
        assert radiance.min() >= 0
        assert radiance[:128].mean() > 0.1
        assert np.linalg.norm(light[:3]) == pytest.approx(1, abs=1e-4)
        assert light[3:6].min() > 0


def test_nine_procedural_skies_use_known_floors():
    assert sum(not sky.hdri for sky in SKIES.values()) == 9
    assert len(FLOORS) == 12
    for name, sky in SKIES.items():
        assert sky.floors
        assert set(sky.floors) <= set(FLOORS)
        look = build_sky_lighting(name, 12)
        assert np.isfinite(look.radiance).all()
        assert np.linalg.norm(look.sun) == pytest.approx(1)
    assert set().union(*(sky.floors for sky in SKIES.values())) == set(FLOORS)


@pytest.mark.parametrize("name", FLOORS)
def test_floors_tile_and_shrink_to_their_mean(name):
    look = build_floor_texture(name, 3)
    image = look.texture[: 256 * 256].reshape(256, 256, 3)
    assert look.texture.shape == (sum(4**k for k in range(9)), 3)
    np.testing.assert_allclose(look.texture[-1], image.mean((0, 1)), rtol=1e-3)
    inner = np.abs(np.diff(image, axis=1)).mean((0, 2))
    assert np.abs(image[:, 0] - image[:, -1]).mean() <= 3 * np.percentile(inner, 99) + 0.02
    assert (build_floor_texture(name, 3).texture == look.texture).all()


@pytest.mark.parametrize("kind", BACKGROUNDS)
def test_backgrounds_stay_behind_the_scene(kind):
    for seed in range(5):
        table = MaterialTable()
        rendered = build_background(kind, np.random.default_rng(seed), table, night=bool(seed % 2))
        again = build_background(kind, np.random.default_rng(seed), MaterialTable(), night=bool(seed % 2))
        assert len(rendered) == (kind != "plain")
        for posed, same in zip(rendered, again, strict=True):
            assert posed.object_id == BACKGROUND_ID
            assert len(posed.primitives) == len(same.primitives)
            for solid in posed.primitives:
                assert solid.position[1] >= 2.4
                assert 0 <= solid.material < len(table.rows)


def test_requested_wall_is_built():
    rows = []
    for wall in WALLS:
        table = MaterialTable()
        build_background("wall", np.random.default_rng(1), table, wall=wall)
        rows.append(int(table.rows[0][6]))
    assert len(set(rows)) == 4


def test_material_rows():
    assert material_row("plastic", "red").shape == (16,)
    np.testing.assert_allclose(material_row("clay", "blue")[:3], srgb_to_linear(COLOURS["blue"]), rtol=1e-5)
    assert material_row("metal", "red")[9] == 1
    assert material_row("glass", "red")[14] < 1
    table = MaterialTable()
    assert [
        table.add(material_row("wood")),
        table.add(material_row("marble")),
        table.add(material_row("wood")),
    ] == [
        0,
        1,
        0,
    ]
    with pytest.raises(UserError, match="did you mean 'red'"):
        material_row("plastic", "redd")
    with pytest.raises(UserError, match="there is no material"):
        material_row("chrome", "red")
    with pytest.raises(UserError, match="there is no pattern"):
        material_row("plastic", "red", "blue", "dotted")
    with pytest.raises(UserError, match="there is no background"):
        build_background("jungle", np.random.default_rng(0), table)


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3))
def test_srgb_goes_and_comes_back(colour):
    np.testing.assert_allclose(linear_to_srgb(srgb_to_linear(colour)), colour, atol=1e-4)


def test_lab_of_known_colours():
    np.testing.assert_allclose(srgb_to_lab(np.ones(3)), [100, 0, 0], atol=0.05)
    np.testing.assert_allclose(srgb_to_lab(np.array([1.0, 0, 0])), [53.24, 80.09, 67.20], atol=0.1)
