"""The audit parses captions and finds false statements; true captions pass."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tools.caption_audit import AuditConfig, audit_clip, check_statement, parse_caption
from tools.caption_audit.__main__ import main
from tools.caption_audit.report import AuditResults, is_framed, smallest_named_size

from kinema.errors import UserError
from kinema.simulator.annotations import Caption, ClipAnnotations, Contact, Environment
from kinema.simulator.appearance.backgrounds import BACKGROUNDS, WALLS
from kinema.simulator.appearance.environments import LAB_SKY, SKIES
from kinema.simulator.captions import environment_phrases, generate_captions
from tests.fixtures import clip_cases as cases


def false_statement_kinds(annotations: ClipAnnotations, text: str) -> set[str]:
    """Kinds of the false statements in a text."""
    parsed = parse_caption(text, annotations)
    assert not parsed.unparsed, parsed.unparsed
    return {s.kind for s in parsed.statements if check_statement(annotations, s) is False}


def with_hidden_frames(annotations: ClipAnnotations, entity: int, frames: slice) -> ClipAnnotations:
    """The clip with an entity hidden in some frames."""
    pixels = annotations.tracks.pixels.copy()
    pixels[frames, entity] = 0
    return replace(annotations, tracks=replace(annotations.tracks, pixels=pixels))


def with_appearance(annotations: ClipAnnotations, **appearance) -> ClipAnnotations:
    """The clip with another appearance for every entity."""
    return replace(
        annotations, entities=tuple(replace(entity, **appearance) for entity in annotations.entities)
    )


TRUE_CLIPS = (
    cases.rolling(),
    cases.colliding(),
    cases.passing_by(),
    with_hidden_frames(cases.hiding(), 0, slice(8, 11)),
    cases.side_by_side(),
    cases.tower(),
    cases.tower(0),
    cases.tower(2),
    cases.dominoes(),
    cases.dominoes(7),
    cases.counting(),
    cases.in_a_row(),
    cases.in_a_row(4),
    with_appearance(cases.counting(), material="marble", colour=None, pattern="marbled"),
    with_appearance(cases.counting(), pattern="two-tone", second_colour="black"),
    with_appearance(cases.counting(), pattern="spotted", second_colour="white"),
    replace(cases.colliding(), event="mass pair", outcome="light", cause="light"),
    replace(cases.rolling(), cause="no wall", claims=cases.rolling().claims[:1]),
    with_appearance(cases.side_by_side(), shape="capsule"),
)


@pytest.mark.parametrize("annotations", TRUE_CLIPS, ids=lambda annotations: annotations.event)
def test_true_captions_parse_fully_and_pass(annotations):
    for seed in range(12):
        found = audit_clip(
            replace(annotations, seed=seed), generate_captions(replace(annotations, seed=seed))
        )
        assert not found.false_statements
        assert not found.unparsed
        assert found.num_checked["named"] >= 6


ROLLS = "A red ball rolls to the left and stops."
HITS = "An orange ball rolls to the right and hits a cyan cube, pushing it to the right."


@pytest.mark.parametrize(
    ("annotations", "true", "false", "kind"),
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
            cases.passing_by(),
            "A green car drives to the right and misses a blue cone.",
            "A green car drives to the right and hits a blue cone.",
            "hits",
        ),
        (
            cases.side_by_side(),
            "A green cube stands to the left of a blue cone.",
            "A green cube stands to the right of a blue cone.",
            "right of",
        ),
        (
            cases.side_by_side(),
            "A blue cone is on the right-hand side of a green cube.",
            "A blue cone is on the left-hand side of a green cube.",
            "left of",
        ),
        (
            with_hidden_frames(cases.hiding(), 0, slice(8, 11)),
            "A pink ball rolls to the right, disappears behind a gray screen and reappears on the right.",
            "A pink ball rolls to the right, disappears behind a gray screen and reappears on the left.",
            "re-emerges",
        ),
        (
            with_hidden_frames(cases.hiding(), 0, slice(8, 11)),
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
            with_appearance(cases.counting(), material="marble", colour=None, pattern="marbled"),
            "Three marble cubes are on the ground.",
            "Three wooden cubes are on the ground.",
            "named",
        ),
        (
            with_appearance(cases.counting(), pattern="striped", second_colour="white"),
            "Three red and white striped cubes are on the ground.",
            "Three red and blue striped cubes are on the ground.",
            "named",
        ),
        (
            with_appearance(cases.counting(), pattern="spotted", second_colour="white"),
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
def test_false_statements_are_caught(annotations, true, false, kind):
    assert false_statement_kinds(annotations, true) == set()
    assert kind in false_statement_kinds(annotations, false)


def test_a_hit_that_did_not_happen_is_caught_in_the_annotations():
    annotations = cases.colliding()
    assert "hits" in false_statement_kinds(replace(annotations, contacts=()), HITS)
    other = (Contact(a=0, b=7, first=3.0, last=3.1),)
    assert "hits" in false_statement_kinds(replace(annotations, contacts=other), HITS)


def test_unparsed_words_are_reported():
    parsed = parse_caption("A red ball rolls to the left and sings.", cases.rolling())
    assert parsed.unparsed == ("sings",)


def test_pronoun_resolution():
    annotations = cases.colliding()
    parsed = parse_caption(
        "An orange ball rolls to the right. It hits a cyan cube, which tips over. The ball stops.",
        annotations,
    )
    assert [
        (s.kind, s.subject, s.object) for s in parsed.statements if s.kind not in ("named", "manner")
    ] == [
        ("moves", 0, None),
        ("hits", 0, 1),
        ("tips over", 1, None),
        ("stops", 0, None),
    ]


def test_cropped_main_object_is_not_framed_and_sizes_are_measured():
    annotations = cases.rolling()
    assert is_framed(annotations)
    box = annotations.tracks.box.copy()
    box[annotations.event_frame, 0] = (0.0, 0.4, 0.1, 0.45)
    cropped = replace(annotations, tracks=replace(annotations.tracks, box=box))
    assert not is_framed(cropped)
    assert smallest_named_size(cropped) == pytest.approx(0.1 * 128)


def test_audit_results_add_up():
    one = audit_clip(cases.rolling(), generate_captions(cases.rolling()))
    wrong = audit_clip(cases.rolling(), (Caption(style="plain", text="A red ball rolls to the right."),))
    whole = AuditResults()
    whole.add(one)
    whole.add(wrong)
    assert whole.num_clips == 2
    assert whole.num_checked["moves"] == one.num_checked["moves"] + 1
    assert "moves" in whole.failing_kinds()
    assert one.failing_kinds() == []


def test_invalid_config_raises_user_error():
    with pytest.raises(UserError, match="at least 1"):
        AuditConfig(num_clips=0)
    with pytest.raises(UserError, match="not a size"):
        AuditConfig(size="big")


def test_every_environment_phrase_is_parsed():
    for sky in [*SKIES, LAB_SKY]:
        for floor in SKIES[sky].floors[:3] if sky in SKIES else ("lab floor",):
            environment = Environment(sky=sky, floor=floor, background="plain")
            for part in (
                *environment_phrases.sky_phrases(environment),
                *environment_phrases.floor_phrases(environment),
            ):
                annotations = replace(cases.rolling(), environment=environment)
                assert (
                    false_statement_kinds(annotations, f"{part.capitalize()}, a red ball rolls to the left.")
                    == set()
                ), part
                assert (
                    false_statement_kinds(
                        annotations, f"A red ball rolls to the left. The scene is set {part}."
                    )
                    == set()
                ), part
    for background in BACKGROUNDS:
        for wall in WALLS:
            environment = Environment(sky="sunset", floor="grass", background=background, wall=wall)
            for part in environment_phrases.background_phrases(environment):
                annotations = replace(cases.rolling(), environment=environment)
                assert (
                    false_statement_kinds(
                        annotations, f"A red ball rolls to the left. All this happens {part}."
                    )
                    == set()
                ), part


def test_command_passes_for_true_captions_and_fails_for_false_ones(capsys, monkeypatch):
    arguments = ["--lab", "--count", "2", "--draws", "0", "--workers", "1", "--num-frames", "13"]
    main([*arguments, "--size", "128x128"])
    output = capsys.readouterr().out
    assert "words not parsed" in output
    assert "below 99.5%" not in output
    false_captions = (Caption(style="core", text="nine green cones are on the ground"),)
    monkeypatch.setattr("tools.caption_audit.report.generate_captions", lambda annotations: false_captions)
    with pytest.raises(SystemExit) as exit_info:
        main(arguments)
    assert exit_info.value.code == 1
    assert "below 99.5%" in capsys.readouterr().out
