"""Storyboards in TOML: what they may say, and that mistakes name their line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.errors import UserError
from kinema.pipeline.storyboard import parse_storyboard, read_storyboard


def parse_text(text: str):
    return parse_storyboard(text, name="board.toml", base_dir=Path(__file__).parent)


def test_every_storyboard_setting():
    board = parse_text(
        'seconds = 6\n[[shot]]\nprompt = "a"\n[[shot]]\nat = 2.5\nprompt = """b\n[[shot]]\n"""\n'
        f'transition = "blend"\nimage = "{Path(__file__).name}"\n'
    )
    assert board.seconds == 6
    first, second = board.shots
    assert (first.prompt, first.seconds, first.image, first.transition) == ("a", 0, None, "cut")
    assert (second.prompt, second.seconds, second.transition) == ("b\n[[shot]]\n", 2.5, "blend")
    assert second.image == Path(__file__)


SHOT_WITHIN_TEXT = '[[shot]]\nprompt = """\n[[shot]]\nat = 1\n"""\nat = 2\n'
A = '[[shot]]\nprompt = "a"\n'


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (A + '\n[[shot]]\nat = 0\nprompt = "b"\n', 5, "order shots by time"),
        (
            A + '[[shot]]\nprompt = """\n[[shot]]\nat = 1\n"""\nat = 2\n[[shot]]\nat = 1\nprompt = "c"\n',
            10,
            "order",
        ),
        ('[[shot]]\nprompt = "a"\nat = 1\n', 3, "begins at 0"),
        (A + '[[shot]]\nprompt = "b"\n', 3, "needs its time"),
        (A + '[[shot]]\nat = "2"\nprompt = "b"\n', 4, "can't begin at '2'"),
        (A + '[[shot]]\nat = nan\nprompt = "b"\n', 4, "can't begin at nan"),
        (A + '[[shot]]\nat = -1\nprompt = "b"\n', 4, "can't begin at -1"),
        (A + "[[shot]]\nat = 1\n", 3, "needs a prompt"),
        (A + '[[shot]]\nat = 1\nprompt = ""\n', 5, "needs a prompt"),
        (A + '[[shot]]\nat = 1\nprompt = "b"\nimage = "no.png"\n', 6, "no image 'no.png'"),
        (A + '[[shot]]\nat = 1\nprompt = "b"\ntransition = "wipe"\n', 6, "give 'cut' or 'blend'"),
        (A + 'transition = "blend"\n', 3, "nothing to blend from"),
        (A + 'promt = "b"\n', 3, "did you mean 'prompt'"),
        ("\nsecond = 3\n" + A, 2, "did you mean 'seconds'"),
        ("# video\nseconds = 1\n" + A + '[[shot]]\nat = 2\nprompt = "b"\n', 2, "give more seconds"),
        ('"seconds" = true\n' + A, 1, "give more seconds"),
    ],
)
def test_a_bad_timeline_names_the_line(text, line, message):
    with pytest.raises(UserError, match=message) as caught:
        parse_text(text)
    assert str(caught.value).startswith(f"board.toml, line {line}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no shots"),
        ("shot = 3", "no shots"),
        ("[[shot]\n", "line 1"),
        ("[shot]\nprompt = 'a'", "no shots"),
    ],
)
def test_invalid_storyboards_are_refused(text, message):
    with pytest.raises(UserError, match=message) as caught:
        parse_text(text)
    assert "\n" not in str(caught.value)


def test_files_that_can_not_be_read(tmp_path):
    with pytest.raises(UserError, match="can't be read"):
        read_storyboard(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="not text"):
        read_storyboard(tmp_path / "bytes.toml")


TIMES = st.lists(st.floats(0.01, 1e4), unique=True, max_size=6).map(sorted)


@given(times=TIMES, blank=st.integers(0, 3), wrong=st.integers(0, 5))
def test_times_come_back_or_their_line_is_named(times, blank, wrong):
    moments = [0.0, *times]
    bad = None
    if len(times) > 1 and wrong < len(times) - 1:
        bad = wrong + 2
        moments[bad] = moments[bad - 1]
    lines: list[str] = []
    where = []
    for moment in moments:
        lines += [""] * blank + ["[[shot]]", 'prompt = "a"', f"at = {moment!r}"]
        where.append(len(lines))
    if bad is None:
        assert [shot.seconds for shot in parse_text("\n".join(lines)).shots] == moments
        return
    with pytest.raises(UserError, match=rf"line {where[bad]}: .*order shots"):
        parse_text("\n".join(lines))


def line_of(text: str) -> str:
    """What is said of a text; nothing where it is a board."""
    try:
        parse_text(text)
    except UserError as error:
        return str(error)
    return ""


PIECES = ["[[shot]]", "at = 1", 'prompt = "x"', "seconds = 2", '"""', "image = 3", "at =", "[shot.x]"]


@given(st.text() | st.lists(st.sampled_from(PIECES)).map("\n".join))
def test_any_text_is_a_board_or_one_line(text):
    assert "\n" not in line_of(text)
