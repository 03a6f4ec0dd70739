"""The audit reads texts back and catches planted faults; true captions pass."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kinema.errors import UserError
from kinema.world.audit import AuditRequest, audit_clip, check, read
from kinema.world.audit.report import Findings, framed, smallest
from kinema.world.captions import captions, places
from kinema.world.facts import Caption, ClipFacts, Contact, Setting
from kinema.world.look.decor import DECORS, WALLS
from kinema.world.look.skies import LAB_SKY, SKIES
from tests import world_cases as cases


def faults(facts: ClipFacts, text: str) -> set[str]:
    """Kinds of statements in the text that are not so."""
    reading = read(text, facts)
    assert not reading.unread, reading.unread
    return {said.kind for said in reading.statements if check(facts, said) is False}


def seen(facts: ClipFacts, entity: int, frames: slice) -> ClipFacts:
    """The same clip with an entity out of sight in some frames."""
    pixels = facts.tracks.pixels.copy()
    pixels[frames, entity] = 0
    return replace(facts, tracks=replace(facts.tracks, pixels=pixels))


def alike(facts: ClipFacts, **look) -> ClipFacts:
    """The same clip with another look for everything in it."""
    return replace(facts, entities=tuple(replace(entity, **look) for entity in facts.entities))


TRUE = (
    cases.rolling(),
    cases.colliding(),
    cases.missing(),
    seen(cases.hiding(), 0, slice(8, 11)),
    cases.standing_beside(),
    cases.tower(),
    cases.tower(0),
    cases.tower(2),
    cases.dominoes(),
    cases.dominoes(7),
    cases.counting(),
    cases.in_a_row(),
    cases.in_a_row(4),
    alike(cases.counting(), material="marble", colour=None, pattern="marbled"),
    alike(cases.counting(), pattern="two-tone", second_colour="black"),
    alike(cases.counting(), pattern="spotted", second_colour="white"),
    replace(cases.colliding(), event="mass pair", outcome="light", cause="light"),
    replace(cases.rolling(), cause="no wall", claims=cases.rolling().claims[:1]),
    alike(cases.standing_beside(), shape="capsule"),
)


@pytest.mark.parametrize("facts", TRUE, ids=lambda facts: facts.event)
def test_true_captions_are_read_whole_and_found_true(facts):
    for seed in range(12):
        found = audit_clip(replace(facts, seed=seed), captions(replace(facts, seed=seed)))
        assert not found.faults
        assert not found.unread
        assert found.said["named"] >= 6


ROLLS = "A red ball rolls to the left and stops."
HITS = "An orange ball rolls to the right and hits a cyan cube, pushing it to the right."


@pytest.mark.parametrize(
    ("facts", "true", "false", "kind"),
    [
        (cases.rolling(), ROLLS, "A red ball rolls to the right and stops.", "moves"),
        (cases.rolling(), ROLLS, "A red ball rolls from left to right and stops.", "moves"),
        (cases.rolling(), ROLLS, "A blue ball rolls to the left and stops.", "named"),
        (cases.rolling(), ROLLS, "A red cube slides to the left and stops.", "named"),
        (cases.rolling(), ROLLS, "A red ball rolls quickly to the left and stops.", "speed"),
        (cases.rolling(), ROLLS, "A red ball rolls to the left and leaves the frame.", "leaves"),
        (cases.rolling(), ROLLS, "A red ball rolls to the left. The camera pans left.", "camera"),
        (cases.rolling(), ROLLS, "On snow, a red ball rolls to the left and stops.", "floor"),
        (
            cases.colliding(),
            HITS,
            HITS.replace("pushing it to the right", "pushing it to the left"),
            "pushed",
        ),
        (
            cases.colliding(),
            HITS,
            "An orange ball rolls to the right and passes a cyan cube without touching it.",
            "misses",
        ),
        (
            cases.colliding(),
            HITS,
            "An orange ball rolls to the right and hits a cyan cube, which tips over.",
            "tips over",
        ),
        (
            cases.colliding(),
            HITS,
            "An orange ball rolls to the right, but stops short of a cyan cube.",
            "short of",
        ),
        (
            cases.missing(),
            "A green car drives to the right and misses a blue cone.",
            "A green car drives to the right and hits a blue cone.",
            "hits",
        ),
        (
            cases.standing_beside(),
            "A green cube stands to the left of a blue cone.",
            "A green cube stands to the right of a blue cone.",
            "right of",
        ),
        (
            cases.standing_beside(),
            "A blue cone is on the right-hand side of a green cube.",
            "A blue cone is on the left-hand side of a green cube.",
            "left of",
        ),
        (
            seen(cases.hiding(), 0, slice(8, 11)),
            "A pink ball rolls to the right, disappears behind a gray screen and reappears on the right.",
            "A pink ball rolls to the right, disappears behind a gray screen and reappears on the left.",
            "re-emerges",
        ),
        (
            seen(cases.hiding(), 0, slice(8, 11)),
            "A pink ball rolls to the right and vanishes behind a gray screen, then comes out on the right.",
            "A pink ball rolls to the right and vanishes behind a gray screen and stays out of sight.",
            "stays hidden",
        ),
        (
            cases.tower(2),
            "A purple ball hits a tower of four blocks, bringing down two of them.",
            "A purple ball hits a tower of four blocks, bringing down three of them.",
            "fallen",
        ),
        (
            cases.tower(2),
            "A purple ball hits a tower of four blocks.",
            "A purple ball hits a tower of five blocks.",
            "count",
        ),
        (
            cases.tower(),
            "A purple ball hits a stack of four blocks, and the stack collapses.",
            "A purple ball hits a stack of four blocks, but the stack stays standing.",
            "stands",
        ),
        (
            cases.dominoes(),
            "A row of seven dominoes falls over one after another from the left.",
            "A row of seven dominoes falls over one after another from the right.",
            "topples",
        ),
        (
            cases.dominoes(),
            "A row of seven dominoes topples from the left, but the chain stops after four.",
            "A row of seven dominoes topples from the left, but the chain stops after three.",
            "fallen",
        ),
        (
            cases.counting(),
            "Three red cubes are on the ground.",
            "Four red cubes are on the ground.",
            "count",
        ),
        (
            alike(cases.counting(), material="marble", colour=None, pattern="marbled"),
            "Three marble cubes are on the ground.",
            "Three wooden cubes are on the ground.",
            "named",
        ),
        (
            alike(cases.counting(), pattern="striped", second_colour="white"),
            "Three red and white striped cubes are on the ground.",
            "Three red and blue striped cubes are on the ground.",
            "named",
        ),
        (
            alike(cases.counting(), pattern="spotted", second_colour="white"),
            "Three red cubes with white spots are on the ground.",
            "Three red cubes with black spots are on the ground.",
            "named",
        ),
        (
            cases.in_a_row(4),
            "A green cube, a blue cone, a red ball and a pink cylinder stand in a row, from left to right.",
            "A green cube, a red ball, a blue cone and a pink cylinder stand in a row, from left to right.",
            "left of",
        ),
        (
            cases.in_a_row(),
            "A green cube is on the left, a blue cone in the middle and a red ball on the right.",
            "A blue cone is on the left, a green cube in the middle and a red ball on the right.",
            "middle",
        ),
    ],
)
def test_planted_faults_are_caught(facts, true, false, kind):
    assert faults(facts, true) == set()
    assert kind in faults(facts, false)


def test_a_hit_that_did_not_happen_is_caught_in_the_facts_too():
    facts = cases.colliding()
    assert "hits" in faults(replace(facts, contacts=()), HITS)
    other = (Contact(a=0, b=7, first=3.0, last=3.1),)
    assert "hits" in faults(replace(facts, contacts=other), HITS)


def test_words_that_nobody_understands_are_reported():
    reading = read("A red ball rolls to the left and sings.", cases.rolling())
    assert reading.unread == ("sings",)


def test_pronouns_mean_what_a_reader_takes_them_to_mean():
    facts = cases.colliding()
    said = read(
        "An orange ball rolls to the right. It hits a cyan cube, which tips over. The ball stops.", facts
    )
    assert [(s.kind, s.subject, s.object) for s in said.statements if s.kind not in ("named", "manner")] == [
        ("moves", 0, None),
        ("hits", 0, 1),
        ("tips over", 1, None),
        ("stops", 0, None),
    ]


def test_a_cropped_main_thing_is_not_framed_and_small_things_are_measured():
    facts = cases.rolling()
    assert framed(facts)
    box = facts.tracks.box.copy()
    box[facts.event_frame, 0] = (0.0, 0.4, 0.1, 0.45)
    cropped = replace(facts, tracks=replace(facts.tracks, box=box))
    assert not framed(cropped)
    assert smallest(cropped) == pytest.approx(0.1 * 128)


def test_findings_of_several_processes_add_up():
    one = audit_clip(cases.rolling(), captions(cases.rolling()))
    wrong = audit_clip(cases.rolling(), (Caption(style="plain", text="A red ball rolls to the right."),))
    whole = Findings()
    whole.add(one)
    whole.add(wrong)
    assert whole.clips == 2
    assert whole.said["moves"] == one.said["moves"] + 1
    assert "moves" in whole.wrong()
    assert one.wrong() == []


def test_requests_that_make_no_sense_end_in_one_line():
    with pytest.raises(UserError, match="at least 1"):
        AuditRequest(count=0)
    with pytest.raises(UserError, match="not a size"):
        AuditRequest(size="big")


def test_every_place_is_read_as_what_it_is():
    for sky in [*SKIES, LAB_SKY]:
        for floor in SKIES[sky].floors[:3] if sky in SKIES else ("lab floor",):
            setting = Setting(sky=sky, floor=floor, decor="plain")
            for part in (*places.sky_phrases(setting), *places.floor_phrases(setting)):
                facts = replace(cases.rolling(), setting=setting)
                assert faults(facts, f"{part.capitalize()}, a red ball rolls to the left.") == set(), part
                assert faults(facts, f"A red ball rolls to the left. The scene is set {part}.") == set(), part
    for decor in DECORS:
        for wall in WALLS:
            setting = Setting(sky="sunset", floor="grass", decor=decor, wall=wall)
            for part in places.decor_phrases(setting):
                facts = replace(cases.rolling(), setting=setting)
                assert faults(facts, f"A red ball rolls to the left. All this happens {part}.") == set(), part
