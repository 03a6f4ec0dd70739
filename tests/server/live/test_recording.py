"""What a live session has made: every branch gives back its frames and latents, like lists in memory."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.server.live.pace import FIRST_STEPS, MIN_STEPS, URGENT_S, Pace
from kinema.server.live.recording import Branch, Recording, decode_jpeg

CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("make"), st.integers(1, 5)),
        st.tuples(st.just("cut"), st.just(0)),
        st.tuples(st.just("back"), st.integers(0, 60)),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=60)
@given(changes=CHANGES)
def test_branches_equal_lists_in_memory(tmp_path_factory, changes):
    recording = Recording(folder=tmp_path_factory.mktemp("live"), latent_shape=(2, 1, 1))
    branch, position, value = Branch(), 0, 0
    expected: list[tuple[int, int, list[bytes]]] = []  # latent, position, images of each record
    for kind, number in changes:
        if kind == "cut":
            position = 0
        elif kind == "make":
            for _ in range(number):
                count = 4 if position else 1
                frames = np.full((count, 8, 8, 3), value % 256, np.uint8)
                latents = np.full((2, 1, 1), value, np.float32)
                record, images = recording.append(latents, frames, position=position)
                branch = branch.with_record(record, len(images))
                expected.append((value, position, images))
                value, position = value + 1, position + 1
        elif expected:
            frame = min(1 + number, branch.num_frames)
            branch = recording.truncated(branch, frame)
            kept, done = [], 0
            for entry in expected:
                if kept and done + len(entry[2]) > frame:
                    break
                kept.append(entry)
                done += len(entry[2])
            expected, position = kept, kept[-1][1] + 1
    images = [image for _, _, own in expected for image in own]
    assert branch.num_frames == len(images)
    assert list(recording.images(branch, 0, branch.num_frames)) == images
    for first in range(0, len(images), 3):
        assert list(recording.images(branch, first, first + 5)) == images[first : first + 5]
    assert recording.image(branch, len(images)) is None
    if expected:
        past = recording.past(branch, num_first=1, num_last=3)
        since_cut = expected[-1][1] + 1
        own = [float(latent) for latent, _, _ in expected[-since_cut:]]
        assert past.position == since_cut
        assert past.first[:, 0, 0, 0].tolist() == own[:1]
        assert past.last[:, 0, 0, 0].tolist() == own[-3:]
        groups = own[1:][-4:]
        assert recording.tail(branch, 4)[:, 0, 0, 0].tolist() == groups
    recording.close()


def test_a_part_has_the_prompts_that_are_seen_in_it():
    branch = Branch().with_shot("a", "cut")
    branch = branch.with_record(0, 10).with_shot("never seen", "cut").with_shot("b", "blend")
    branch = branch.with_record(1, 10)
    shots = [(shot.frame, shot.prompt, shot.transition) for shot in branch.shots_between(0, 20)]
    assert shots == [(0, "a", "cut"), (10, "b", "blend")]
    assert [(shot.frame, shot.prompt) for shot in branch.shots_between(4, 20)] == [(0, "a"), (6, "b")]
    assert [(shot.frame, shot.transition) for shot in branch.shots_between(12, 20)] == [(0, "cut")]
    assert [shot.prompt for shot in branch.shots_between(0, 10)] == ["a"]


def test_frames_survive_as_they_were(tmp_path):
    recording = Recording(folder=tmp_path, latent_shape=(1, 1, 1))
    ramp = np.broadcast_to(np.linspace(0, 255, 32).astype(np.uint8)[None, :, None], (32, 32, 3))
    _, images = recording.append(np.zeros((1, 1, 1), np.float32), ramp[None], position=0)
    recording.close()
    assert np.abs(decode_jpeg(images[0]).astype(int) - ramp).max() <= 4


def test_steps_follow_the_machine():
    slow = Pace(fps=8, steps=FIRST_STEPS, max_steps=20)
    for number in range(5):
        slow.note(begun=number, ended=number + 0.45, num_frames=4, is_block=True, is_first=False)
    assert slow.steps == MIN_STEPS
    fast = Pace(fps=8, steps=FIRST_STEPS, max_steps=6)
    for number in range(9):
        fast.note(begun=number, ended=number + 0.05, num_frames=4, is_block=True, is_first=False)
    assert fast.steps == 6
    assert fast.speed > 9


def test_frames_are_made_just_before_they_are_needed():
    pace = Pace(fps=8, steps=4, max_steps=20)
    pace.note(begun=100.0, ended=100.2, num_frames=4, is_block=True, is_first=False)
    assert pace.shown_until == 100.7
    begins = pace.start_time(is_block=True)
    assert 100.35 < begins < 100.5
    pace.note(begun=begins, ended=begins + 0.2, num_frames=4, is_block=True, is_first=False)
    assert abs(pace.shown_until - 101.2) < 1e-9
    # A new prompt begins at once, as long as little is ready that is not shown.
    pace.is_urgent = True
    assert pace.start_time(is_block=True) == pace.shown_until - URGENT_S
    # After a stall what follows is shown at once, and nothing is skipped.
    pace.note(begun=110.0, ended=110.3, num_frames=4, is_block=True, is_first=False)
    assert pace.shown_until == 110.8
