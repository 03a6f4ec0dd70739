"""Captions of hand-made clips: their text, grammar and claims."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.simulator.annotations import Claim, Environment
from kinema.simulator.appearance.backgrounds import BACKGROUNDS, WALLS
from kinema.simulator.appearance.environments import SKIES
from kinema.simulator.appearance.floors import FLOORS
from kinema.simulator.captions import STYLES, environment_phrases, generate_captions, lexicon
from kinema.simulator.captions.grammar import inflect, join_list
from kinema.simulator.captions.vocabulary import known_words, unique_words, unknown_words
from tests.fixtures import clip_cases as cases

CORE = {
    cases.rolling: "a red ball rolls to the left and stops",
    cases.colliding: "an orange ball rolls to the right and hits a cyan cube",
    cases.passing_by: "a green car drives to the right and misses a blue cone",
    cases.hiding: (
        "a pink ball rolls to the right, disappears behind a gray screen and reappears on the right"
    ),
    cases.side_by_side: "a green cube stands to the left of a blue cone",
    cases.tower: "a purple ball rolls to the right and hits a tower of four blocks, and the tower collapses",
    cases.dominoes: (
        "a row of seven blue and red dominoes falls over one after another from the left, "
        "but the chain stops after four because the gap is too wide"
    ),
    cases.counting: "three red cubes are on the ground",
    cases.in_a_row: "a green cube is on the left, a blue cone in the middle and a red ball on the right",
}


def captions_by_style(annotations) -> dict[str, str]:
    return {caption.style: caption.text for caption in generate_captions(annotations)}


@pytest.mark.parametrize("case", CORE, ids=lambda case: case.__name__)
def test_core_is_the_plain_prompt_a_person_would_type(case):
    captions = generate_captions(case())
    assert captions[0].style == "core"
    assert captions[0].text == CORE[case]


def test_core_does_not_depend_on_the_seed():
    assert {generate_captions(cases.colliding(seed=seed))[0].text for seed in range(20)} == {
        CORE[cases.colliding]
    }


def test_a_moving_camera_is_part_of_core():
    assert generate_captions(cases.rolling(move="pan left"))[0].text == (
        "a red ball rolls to the left and stops as the camera pans left"
    )


def test_terse_has_neither_articles_nor_full_stop():
    captions = captions_by_style(cases.colliding())
    assert captions["terse"] == "orange ball rolls right, hits cyan cube, pushes it right, stops"


def test_simple_style_has_one_message_per_sentence():
    text = captions_by_style(cases.colliding())["simple"]
    assert text.split(". ")[1].startswith("It hits a cyan")
    assert "It pushes the cube to the right" in text


@pytest.mark.parametrize("case", cases.ALL, ids=lambda case: case.__name__)
def test_core_and_at_least_five_different_paraphrases_the_same_every_time(case):
    for seed in range(10):
        captions = generate_captions(case(seed=seed))
        assert len({caption.text for caption in captions}) == len(captions) >= 6
        assert captions == generate_captions(case(seed=seed))
    assert generate_captions(case(seed=1))[4:] != generate_captions(case(seed=2))[4:]


@pytest.mark.parametrize("case", cases.ALL, ids=lambda case: case.__name__)
@given(seed=st.integers(0, 2**48 - 1), move=st.sampled_from(["static", "zoom in", "truck right"]))
def test_every_caption_is_tidy_english(case, seed, move):
    annotations = case(seed=seed, move=move)
    styles = {style.name: style for style in STYLES}
    for caption in generate_captions(annotations):
        text = caption.text
        assert not re.search(r"[\[\]{}*|]|  | ,|,,|\.\.| \.|None", text), text
        assert not re.search(r"\b(a [aeiou]|an [^aeiou])", text.lower()), text
        assert not re.search(r"\b(\w+) \1\b", text), text
        if styles[caption.style].as_sentences:
            assert text[0].isupper()
            assert text.endswith(".")
            assert not re.search(r"\. [a-z]", text)
        assert caption.claims == tuple(sorted(set(caption.claims)))
        assert all(0 <= claim < len(annotations.claims) for claim in caption.claims)


def test_full_and_simple_state_every_claim():
    for case in (cases.rolling, cases.colliding, cases.passing_by, cases.hiding, cases.tower, cases.dominoes):
        annotations = case(move="crane up")
        captions = {caption.style: caption.claims for caption in generate_captions(annotations)}
        assert captions["full"] == tuple(range(len(annotations.claims)))


def test_core_omits_consequences_and_their_claims():
    captions = {caption.style: caption for caption in generate_captions(cases.colliding())}
    assert captions["core"].claims == (0, 1)
    assert captions["full"].claims == (0, 1, 2, 3)


def test_which_refers_to_the_last_mention():
    annotations = cases.colliding()
    claims = (*annotations.claims[:2], Claim(kind="tips over", subject=1), annotations.claims[-1])
    captions = captions_by_style(replace(cases.colliding(), claims=claims))
    assert captions["core"] == "an orange ball rolls to the right and hits a cyan cube, which tips over"
    assert captions["full"] == "An orange ball rolls to the right and hits a cyan cube, which tips over."


def test_subject_is_repeated_after_a_relative_clause():
    annotations = cases.colliding()
    claims = (
        *annotations.claims[:2],
        Claim(kind="stays", subject=1),
        Claim(kind="bounces back", subject=0),
        annotations.claims[-1],
    )
    text = captions_by_style(replace(cases.colliding(), claims=claims))["full"]
    assert text == (
        "An orange ball rolls to the right and hits a cyan cube, which does not move, "
        "and the ball bounces back."
    )


def test_hit_chains_use_then():
    annotations = cases.in_a_row()
    claims = (
        Claim(kind="moves", subject=0, value="right"),
        Claim(kind="hits", subject=0, object=1),
        Claim(kind="pushed", subject=1, value="right"),
        Claim(kind="hits", subject=1, object=2),
        annotations.claims[-1],
    )
    text = generate_captions(replace(cases.in_a_row(), claims=claims))[0].text
    assert text == "a green cube slides to the right and hits a blue cone, which then hits a red ball"


def test_missing_wall_is_stated_as_cause():
    annotations = cases.rolling()
    captions = captions_by_style(
        replace(cases.rolling(), claims=annotations.claims[:1] + annotations.claims[-1:], cause="no wall")
    )
    assert captions["core"] == "a red ball keeps rolling to the left because there is no wall"


@pytest.mark.parametrize(
    ("look", "words"),
    [
        ({"material": "marble", "colour": None, "pattern": "marbled"}, "three marble cubes"),
        ({"pattern": "two-tone", "second_colour": "black"}, "three red and black two-tone cubes"),
        ({"pattern": "spotted", "second_colour": "white"}, "three red cubes with white spots"),
    ],
)
def test_counted_groups_are_described_by_appearance(look, words):
    annotations = cases.counting()
    annotations = replace(annotations, entities=tuple(replace(e, **look) for e in annotations.entities))
    assert captions_by_style(annotations)["core"] == f"{words} are on the ground"


def test_light_weight_is_not_worded_as_a_colour_shade():
    for cause in ("light", "heavy"):
        for seed in range(10):
            annotations = replace(cases.colliding(seed=seed), event="mass pair", outcome=cause, cause=cause)
            for caption in generate_captions(annotations):
                assert not re.search(r"\blight (?!\w*weight)", caption.text), caption.text
    assert captions_by_style(replace(cases.colliding(), cause="light"))["core"].startswith(
        "a lightweight orange ball"
    )


def test_lying_shapes_use_the_verb_lie():
    annotations = cases.side_by_side()
    annotations = replace(
        annotations, entities=tuple(replace(e, shape="capsule") for e in annotations.entities)
    )
    assert generate_captions(annotations)[0].text == "a green capsule lies to the left of a blue capsule"
    for seed in range(20):
        for caption in generate_captions(replace(annotations, seed=seed)):
            assert not re.search(r"\b(stand|sit)", caption.text), caption.text


def test_keeps_rolling_is_reworded_in_gerund_form():
    annotations = replace(cases.rolling(), cause="no wall", claims=cases.rolling().claims[:1])
    for seed in range(10):
        text = captions_by_style(replace(annotations, seed=seed))["video of"]
        assert " continuing to roll " in text
        assert "keeping" not in text


def test_identical_objects_are_distinguished():
    twins = (cases.make_entity(0, "cube", "red"), cases.make_entity(1, "cube", "red"))
    text = generate_captions(replace(cases.side_by_side(), entities=twins))[0].text
    assert text == "a red cube stands to the left of another red cube"


@pytest.mark.parametrize(
    ("text", "plural", "form", "expected"),
    [
        ("[roll] left", False, "finite", "rolls left"),
        ("[roll] left", True, "finite", "roll left"),
        ("[!move]", False, "finite", "does not move"),
        ("[!move]", True, "gerund", "not moving"),
        ("[hit] and [stop]", False, "gerund", "hitting and stopping"),
        ("[slow] down until it [stop]", False, "gerund", "slowing down until it stops"),
        ("[be] there", True, "finite", "are there"),
        ("[push]", False, "finite", "pushes"),
        ("[fly]", False, "finite", "flies"),
        ("[slide]", False, "gerund", "sliding"),
        ("[set]", False, "gerund", "setting"),
        ("[go]", False, "finite", "goes"),
    ],
)
def test_verbs_agree(text, plural, form, expected):
    assert inflect(text, plural=plural, form=form) == expected


def test_negation_is_contracted_on_request():
    assert inflect("[!budge]", plural=False, contractions=True) == "doesn't budge"


def test_lists_plurals_numbers_and_articles():
    assert join_list(["a"]) == "a"
    assert join_list(["a", "b", "c"]) == "a, b and c"
    assert lexicon.pluralize("open box") == "open boxes"
    assert lexicon.pluralize("domino") == "dominoes"
    assert lexicon.number_word(3) == "three"
    assert lexicon.number_word(40) == "40"
    assert lexicon.add_article("orange ball") == "an orange ball"


def test_every_environment_has_phrases():
    for sky in SKIES:
        assert environment_phrases.sky_phrases(Environment(sky=sky, floor="", background="plain")), sky
    for floor in FLOORS:
        assert environment_phrases.floor_phrases(Environment(sky="", floor=floor, background="plain")), floor
    for background in BACKGROUNDS:
        for wall in WALLS if background == "wall" else ("",):
            captions = environment_phrases.background_phrases(
                Environment(sky="", floor="", background=background, wall=wall)
            )
            assert bool(captions) == (background != "plain"), (background, wall)


def test_no_word_means_two_shapes_or_two_colours():
    for table in (lexicon.SHAPES, lexicon.COLOURS):
        words = [word for options in table.values() for word in options]
        assert len(words) == len(set(words))


def test_known_words_cover_all_captions_and_reject_others():
    known = known_words()
    for case in cases.ALL:
        for seed in range(25):
            for caption in generate_captions(case(seed=seed, move="dolly out")):
                assert unique_words(caption.text) <= known
    assert unknown_words("a red ball and a giraffe meet a zeppelin", known) == ["giraffe", "zeppelin"]
