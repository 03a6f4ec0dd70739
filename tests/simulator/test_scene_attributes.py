"""Labels of clips: what they say is what the annotations say, and accuracies are shares of them."""

import json

import pytest

from kinema.simulator.annotation_io import annotations_to_json
from kinema.simulator.clip import make_clip
from kinema.simulator.clip_spec import ClipSpec
from kinema.simulator.scene_attributes import (
    SCENE_ATTRIBUTES,
    measure_accuracy,
    mirror_labels,
    read_scene_labels,
)
from tests.fixtures.scenes import scene_annotations

VALUES = {one.name: one.values for one in SCENE_ATTRIBUTES}


@pytest.mark.parametrize("seed", range(6))
def test_every_label_of_a_simulated_clip_is_a_value(seed):
    spec = ClipSpec(seed=seed, height=48, width=48, num_frames=25)
    annotations = make_clip(spec, render=False).annotations
    labels = read_scene_labels(annotations_to_json(annotations))
    assert {"camera", "floor", "place", "background"} <= set(labels.one)
    assert labels.one["camera"] == annotations.camera
    for name, value in labels.one.items():
        assert value in VALUES[name]
    for name in ("shapes", "colours", "materials"):
        assert labels.main[name] <= labels.several[name] <= set(VALUES[name])
    assert labels.several["shapes"] == {entity.shape for entity in annotations.entities}


def test_all_values_are_of_an_event_or_of_the_captions():
    assert len(VALUES["event"]) == 18
    assert all(one.split(": ")[0] in VALUES["event"] for one in VALUES["outcome"])
    for name, values in VALUES.items():
        assert len(set(values)) == len(values), name


def test_objects_in_the_background_are_seen_but_not_what_the_event_is_about():
    behind = {"role": "background", "colour": "green", "shape": "ring", "second_colour": "white"}
    labels = read_scene_labels(scene_annotations(colour="red", others=(behind,)))
    assert labels.several["colours"] == {"red", "green", "white"}
    assert labels.main["colours"] == {"red"}
    assert labels.main["shapes"] == {"ball"}


def test_walls_are_backgrounds_of_their_kind():
    assert (
        read_scene_labels(scene_annotations(background="wall", wall="brick")).one["background"]
        == "brick wall"
    )
    assert read_scene_labels(scene_annotations()).one["background"] == "nothing"


def test_mirroring_twice_changes_nothing():
    labels = read_scene_labels(scene_annotations(event="spin", outcome="clockwise", camera="orbit left"))
    mirrored = mirror_labels(labels)
    assert mirrored.one["outcome"] == "spin: counterclockwise"
    assert mirrored.one["camera"] == "orbit right"
    assert mirrored.one["floor"] == labels.one["floor"]
    assert mirror_labels(mirrored) == labels


def test_accuracy_is_the_share_of_right_values():
    text = scene_annotations(colour="red", others=({"role": "background", "colour": "blue"},))
    labels = read_scene_labels(text)
    right = {name: frozenset({value}) for name, value in labels.one.items()} | labels.several
    wrong = {**right, "floor": frozenset({"snow"}), "colours": frozenset({"blue", "green"})}
    accuracy = measure_accuracy([(labels, right), (labels, wrong)])
    assert accuracy["floor"] == 0.5
    assert accuracy["event"] == accuracy["shapes"] == 1
    # Red is seen once of two times; of the ten colours that no object has, green is seen once.
    assert accuracy["colours"] == pytest.approx((0.5 + 19 / 20) / 2)


@pytest.mark.parametrize(
    ("stated", "seen", "right"),
    [
        ("dolly in", "zoom in", 1),
        ("pan left", "truck left", 1),
        ("pan left", "pan right", 0),
        ("static", "zoom in", 0),
    ],
)
def test_camera_moves_that_look_alike_count_as_equal(stated, seen, right):
    labels = read_scene_labels(scene_annotations(camera=stated))
    found = {name: frozenset({value}) for name, value in labels.one.items()} | labels.several
    assert measure_accuracy([(labels, {**found, "camera": frozenset({seen})})])["camera"] == right


def test_an_attribute_without_labels_has_no_accuracy():
    text = scene_annotations(event="wall pair")
    labels = read_scene_labels(text)
    seen = {name: frozenset({value}) for name, value in labels.one.items()} | labels.several
    seen |= {"event": frozenset({"roll"}), "outcome": frozenset({"roll: stops"})}
    assert "event" not in measure_accuracy([(labels, seen)])
    assert json.loads(text)["event"] == "wall pair"
