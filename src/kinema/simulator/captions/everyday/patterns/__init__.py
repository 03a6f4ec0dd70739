"""Sentence patterns of each situation.

`MAINS` has the sentences of each situation (`situations`), `ENDINGS` clauses that add an outcome. `FRAMES`
surround a sentence, and `CAMERA_TAILS` and `PLACE_TAILS` add the camera move and the environment. Each line
is one pattern. Its hash decides whether it is held out of training (`split.is_pattern_held_out`).

Slots: {A} {B} {C} {G} are noun phrases; `.the` with the definite article, `.bare` without any, `.noun` the
short form of a second mention ('the ball'), `.it` a pronoun. {go.s} is a verb of the situation, {hit.s} one
of that sense; forms `s` (agrees), `base`, `ing`, `ed` (participle), `past`; `{hit.s.B}` agrees with B. {is}
{was} {has} agree with A, {is.B} with B. {dir} {side} {turn} {speed} {pdir} {n} {end} {rel} {height} are
values; `{dir?}` is left out at random, and where the facts have none. A `*` before a line marks a noun
phrase, not a clause.
"""

from __future__ import annotations

from kinema.simulator.captions.everyday.patterns import (
    apparatus,
    arrangement,
    camera,
    falling,
    hiding,
    hitting,
    missing,
    moving,
    pushing,
    standing,
    three_objects,
)
from kinema.simulator.captions.everyday.patterns.surroundings import (
    CAMERA_TAILS,
    ENDINGS,
    FRAMES,
    PLACE_TAILS,
)

__all__ = ["CAMERA_TAILS", "ENDINGS", "FRAMES", "MAINS", "PLACE_TAILS", "all_patterns", "parse_lines"]

_MODULES = (
    moving, falling, standing, hitting, pushing, missing, hiding, apparatus, arrangement, camera,
    three_objects,
)  # fmt: skip
MAINS: dict[str, str] = {name: text for module in _MODULES for name, text in module.MAINS.items()}


def parse_lines(text: str) -> tuple[str, ...]:
    """The patterns of a list, in order. Repeated lines are kept; they are sampled more often."""
    return tuple(line for line in text.strip("\n").splitlines() if line.strip())


def all_patterns() -> tuple[str, ...]:
    """Every distinct pattern."""
    found = [line for text in (*MAINS.values(), *ENDINGS.values()) for line in parse_lines(text)]
    found += [*parse_lines(FRAMES), *parse_lines(CAMERA_TAILS), *parse_lines(PLACE_TAILS)]
    return tuple(dict.fromkeys(found))
