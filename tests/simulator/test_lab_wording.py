"""Meanings in the lab's wording, against the evaluator's own parser and the captions of simulated clips."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.errors import UserError
from kinema.evaluation.palette import COLOURS
from kinema.evaluation.prompt_parser import parse_prompt
from kinema.evaluation.prompt_sets import build_prompt_set
from kinema.simulator.captions import generate_captions
from kinema.simulator.captions.everyday.evaluation_list import evaluation_prompts
from kinema.simulator.captions.everyday.lab_wording import is_lab_caption, write_lab_caption
from kinema.simulator.captions.everyday.meaning import Meaning, ObjectMeaning
from kinema.simulator.captions.everyday.slots import (
    OTHER,
    SLOTS,
    meaning_to_slots,
    order_objects,
    slots_to_meaning,
)
from kinema.simulator.clip import ClipSpec, make_clip

SCREEN = {"wall": "screen"}
BALL, CUBE = ObjectMeaning(shape="ball", colour="red"), ObjectMeaning(shape="cube", colour="blue")
VALUES = st.fixed_dictionaries({name: st.sampled_from(values) for name, values in SLOTS.items()})


def write(meaning: Meaning, seed: int = 0) -> str | None:
    return write_lab_caption(meaning, random.Random(seed))


@pytest.mark.parametrize("item", evaluation_prompts(), ids=lambda item: str(item.index))
def test_the_evaluators_parser_reads_the_meaning_back(item):
    caption, meaning = write(item.meaning, item.seed), item.meaning
    assert caption is not None
    assert is_lab_caption(caption)
    spec = parse_prompt(caption)
    assert len({one.colour for one in spec.objects}) == len(spec.objects)
    for own, read in zip(order_objects(meaning), spec.objects, strict=True):
        assert own.colour in ("", read.colour)
        assert SCREEN.get(own.shape, own.shape) in ("", read.shape)
        assert own.count == read.count
    if meaning.direction in ("left", "right", "toward", "away"):
        assert spec.direction == meaning.direction
    if meaning.relation == "left of":
        assert spec.side == "left of"
    if meaning.camera:
        assert spec.camera_move == meaning.camera
    outcomes = {
        "hit": "hits", "push": "hits", "knock over": "tips over", "miss": "misses", "stop short": "short of",
        "stop": "stops", "bounce": "bounces high", "fall without a bounce": "no bounce",
        "land on": "lands on", "land beside": "falls beside", "hide and come out": "re-emerges",
        "hide and stay": "stays hidden", "pass in front": "in front", "move": "", "still": "", "none": "",
    }  # fmt: skip
    if meaning.event != "fall":
        assert spec.outcome == outcomes[meaning.event]


def test_prompt_sets_and_captions_of_the_lab_have_its_wording():
    prompts = [item.prompt for name in ("smoke", "dev") for item in build_prompt_set(name)]
    for event in ("roll", "still", "collide", "drop", "occlude", "camera", "count"):
        for seed in range(1):
            try:
                clip = make_clip(
                    ClipSpec(seed=seed, lab=True, event=event, num_frames=17, fps=8.0), render=False
                )
            except UserError:
                continue
            prompts.append(generate_captions(clip.annotations)[0].text)
    assert [prompt for prompt in prompts if not is_lab_caption(prompt)] == []


@pytest.mark.parametrize(
    "prompt",
    [
        "", "a ball", "a ball rolls to the left", "a red ball rolls", "a red ball bumps into a blue cube",
        "a scarlet ball rolls to the left", "a red ball rolls to the left and then a dog barks",
        "two red ball roll to the left", "a red ring rolls to the left",
    ],
)  # fmt: skip
def test_other_wording(prompt):
    assert not is_lab_caption(prompt)


def test_anything_falls_without_a_bounce_and_a_ball_bounces():
    thing = (ObjectMeaning(),)
    landing = {
        write(Meaning(objects=thing, event="fall without a bounce", actor=0), seed).split()[2]
        for seed in range(100)
    }
    assert landing == {"ball", "cube", "cylinder", "cone"}
    bouncing = {write(Meaning(objects=thing, event="bounce", actor=0), seed).split()[2] for seed in range(20)}
    assert bouncing == {"ball"}


def test_what_is_open_varies_with_the_seed_and_what_is_said_does_not():
    meaning = Meaning(
        objects=(ObjectMeaning(shape="ball"), replace(CUBE, shape="")), event="hit", actor=0, patient=1
    )
    captions = {write(meaning, seed) for seed in range(200)}
    assert all("blue cube" in caption and "blue ball" not in caption for caption in captions)
    assert {caption.split()[1] for caption in captions} == set(COLOURS) - {"blue"}
    assert {"left" in caption for caption in captions} == {True, False}
    assert write(meaning, 3) == write(meaning, 3)


@pytest.mark.parametrize(
    "meaning",
    [
        Meaning(objects=()),
        Meaning(objects=(BALL,), event="swing", actor=0),
        Meaning(objects=(replace(BALL, shape="ring"),), event="move", actor=0),
        Meaning(objects=(replace(BALL, colour="brown"),), event="move", actor=0),
        Meaning(objects=(replace(BALL, count=9),), event="still", actor=0),
        Meaning(objects=(replace(BALL, count=9),), event="move", actor=0),
        Meaning(objects=(BALL, CUBE), event="move", actor=0),
        Meaning(objects=(BALL, CUBE), event="fall", actor=0, patient=1),
        Meaning(objects=(BALL,), event="hit", actor=0),
        Meaning(objects=(BALL, CUBE), relation="on top of", related=(0, 1)),
        Meaning(objects=(BALL,), camera="roll"),
        Meaning(objects=(BALL, CUBE, replace(CUBE, colour="green")), event="hit", actor=0, patient=1),
        Meaning(objects=(BALL, CUBE, replace(CUBE, count=2))),
        Meaning(objects=(BALL, CUBE, ObjectMeaning(shape="wall"))),
        Meaning(objects=(BALL, CUBE, BALL, CUBE)),
    ],
    ids=lambda meaning: f"{meaning.event} {len(meaning.objects)}",
)
def test_what_the_lab_does_not_have_has_no_caption(meaning):
    assert write(meaning) is None


@given(VALUES)
def test_slots_are_a_meaning_and_back(values):
    meaning = slots_to_meaning(values)
    count = 3 if values["objects"] == OTHER else int(values["objects"])
    used = [n for n in SLOTS if not n[-1].isdigit() or int(n[-1]) <= count]
    if OTHER in [values[name] for name in used]:
        assert meaning is None
        return
    back = meaning_to_slots(meaning)
    for name in used:
        if name != "relation" or (count, values["relation"]) in (
            (2, "left of"),
            (2, "next to"),
            (3, "between"),
        ):
            assert SLOTS[name][back[name]] == values[name]
    caption = write(meaning)
    assert caption is None or is_lab_caption(caption)


def test_objects_are_ordered_by_their_roles():
    struck_first = Meaning(objects=(CUBE, BALL), event="hit", actor=1, patient=0)
    right_first = Meaning(objects=(CUBE, BALL), relation="left of", related=(1, 0))
    assert order_objects(struck_first) == order_objects(right_first) == (BALL, CUBE)
    assert write(right_first) == "a red ball stands to the left of a blue cube"
    slots = meaning_to_slots(struck_first)
    assert SLOTS["colour 1"][slots["colour 1"]] == "red"


CONE = ObjectMeaning(shape="cone", colour="green")


@pytest.mark.parametrize(
    ("objects", "middle"), [((BALL, CUBE, CONE), 1), ((CUBE, BALL, CONE), 0), ((BALL, CONE, CUBE), 2)]
)
def test_three_objects_are_written_from_left_to_right(objects, middle):
    meaning = Meaning(objects=objects, relation="between", related=(middle, -1))
    assert write(meaning) == (
        "a red ball is on the left, a blue cube in the middle and a green cone on the right"
    )
    assert write(replace(meaning, camera="static")) == write(meaning)
    assert write(replace(meaning, camera="pan left")) is None
    listed = Meaning(objects=objects)
    assert write(listed) is not None
    assert order_objects(listed) == objects


def test_three_objects_have_the_wording_of_the_captions_of_their_clips():
    for seed in range(3):
        clip = make_clip(
            ClipSpec(seed=seed, lab=True, event="still", outcome="three", num_frames=17, fps=8.0),
            render=False,
        )
        caption = generate_captions(clip.annotations)[0].text
        assert is_lab_caption(caption)
        assert len(parse_prompt(caption).objects) == 3
