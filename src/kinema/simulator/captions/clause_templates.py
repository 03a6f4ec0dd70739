"""Verb-phrase templates of the claims.

`[roll]` is a verb that agrees with its subject and `[!move]` a negated verb. Slots: `{o}` the object, `{it}`
a pronoun for the last object, `{dir}` a direction, `{side}` a side, `{n}` a number, `{verb}` and `{adv}` the
manner and speed of a motion, `{ground}` the floor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kinema.simulator.annotations import ClaimKind

ClauseJoin = Literal["and", "but", "ing", "until", "then", "alone"]
"""How a clause is joined to the previous clause when both have the same subject."""


@dataclass(frozen=True)
class ClauseTemplate:
    """One template of one kind of claim."""

    text: str
    join: ClauseJoin = "and"


@dataclass(frozen=True, kw_only=True)
class ClauseTemplates:
    """All templates of one kind of claim, by register."""

    core: ClauseTemplate
    plain: tuple[ClauseTemplate, ...]
    casual: tuple[ClauseTemplate, ...]
    terse: ClauseTemplate | None = None


def parse_template(text: str) -> ClauseTemplate:
    """Parse a template written as `text` or `join: text`."""
    join, colon, rest = text.partition(": ")
    for known in ("but", "ing", "until", "then"):
        if colon and join == known:
            return ClauseTemplate(rest, known)
    return ClauseTemplate(text)


def parse_templates(texts: str) -> tuple[ClauseTemplate, ...]:
    """Parse templates separated by ` / `."""
    return tuple(parse_template(text) for text in texts.split(" / "))


CLAUSE_TEMPLATES: dict[ClaimKind, ClauseTemplates] = {
    "moves": ClauseTemplates(
        core=parse_template("[{verb}] {adv} {dir}"),
        plain=parse_templates("[{verb}] {adv} {dir} / {early} [{verb}] {dir} / [{verb}] {dir} {adv}"),
        casual=parse_templates(
            "[{verb}] {adv} {dir} / [go] {verbing} {dir} {adv} / [come] {verbing} by {adv}, heading {dir}"
        ),
    ),
    "speed": ClauseTemplates(
        core=parse_template("[move] {adv}"),
        plain=parse_templates("[move] {adv}"),
        casual=parse_templates("[move] {adv} / [go] {adv}"),
    ),
    "stops": ClauseTemplates(
        core=parse_template("[stop]"),
        plain=parse_templates(
            "[come] to a stop / then: [stop] / [come] to rest / then: [slow] down until it [stop]"
        ),
        casual=parse_templates("[come] to a halt / [end] up still"),
    ),
    "leaves": ClauseTemplates(
        core=parse_template("[leave] the frame"),
        plain=parse_templates(
            "until: it [be] out of view / [leave] the picture / until: it [leave] the frame / "
            "[move] out of the frame"
        ),
        casual=parse_templates(
            "[go] off screen / [disappear] out of the shot / until: it [be] gone from the picture"
        ),
    ),
    "hits": ClauseTemplates(
        core=parse_template("[hit] {o}"),
        plain=parse_templates(
            "[strike] {o} / [collide] with {o} / [bump] into {o} / [run] into {o} / "
            "[meet] {o} with a bump / [hit] {o}"
        ),
        casual=parse_templates(
            "[crash] into {o} / [smack] into {o} / [bang] into {o} / [knock] against {o} / [slam] into {o}"
        ),
    ),
    "misses": ClauseTemplates(
        core=parse_template("[miss] {o}"),
        plain=parse_templates(
            "[pass] {o} without touching {it} / [go] past {o} without touching {it} / "
            "but: [miss] {o} / [pass] by {o} but [!touch] {it}"
        ),
        casual=parse_templates(
            "[sail] right past {o} without touching {it} / but: [!hit] {o} / [go] by {o} and [miss] {it}"
        ),
    ),
    "short of": ClauseTemplates(
        core=parse_template("but: [stop] before reaching {o}"),
        plain=parse_templates(
            "but: [stop] short of {o} / but: [!reach] {o} / but: [come] to rest before it [reach] {o}"
        ),
        casual=parse_templates(
            "but: [!make] it to {o} / but: [!get] as far as {o} / but: [give] up before reaching {o}"
        ),
    ),
    "pushed": ClauseTemplates(
        core=parse_template("ing: [push] {it} {dir}"),
        plain=parse_templates(
            "ing: [push] {it} {dir} / ing: [set] {it} moving {dir} / [shove] {it} {dir} / "
            "ing: [drive] {it} {dir}"
        ),
        casual=parse_templates("ing: [knock] {it} {dir} / ing: [send] {it} {dir}"),
    ),
    "stays": ClauseTemplates(
        core=parse_template("[!move]"),
        plain=parse_templates("[stay] where it [be] / [stay] in place / [!move] / [remain] still"),
        casual=parse_templates("[!budge] / [stay] put / [!move] at all"),
    ),
    "bounces back": ClauseTemplates(
        core=parse_template("[bounce] back"),
        plain=parse_templates("[bounce] back / [rebound]"),
        casual=parse_templates("[bounce] right back / [spring] back"),
    ),
    "tips over": ClauseTemplates(
        core=parse_template("[tip] over"),
        plain=parse_templates("[topple] over / [fall] over / [tip] over / [tip] onto its side"),
        casual=parse_templates("[keel] over / [tumble] over / [flop] over"),
    ),
    "stands": ClauseTemplates(
        core=parse_template("but: [stay] standing"),
        plain=parse_templates("but: [!fall] over / but: [remain] standing / but: [stay] upright"),
        casual=parse_templates("but: [stay] on its feet / but: [keep] standing / but: [!fall] down"),
    ),
    "falls": ClauseTemplates(
        core=parse_template("[fall] down"),
        plain=parse_templates(
            "[fall] from above / [drop] down / [fall] through the air / [drop] from the air"
        ),
        casual=parse_templates("[come] falling down / [plunge] down / [come] down from above"),
    ),
    "bounces": ClauseTemplates(
        core=parse_template("[bounce] {height}"),
        plain=parse_templates("[bounce] {height} / then: [bounce] {height}"),
        casual=parse_templates("[bounce] {height} / [hop] {height}"),
    ),
    "lands on": ClauseTemplates(
        core=parse_template("[land] on {o}"),
        plain=parse_templates(
            "[land] on top of {o} / [come] to rest on {o} / [settle] on {o} / [land] on {o} and [stay] there"
        ),
        casual=parse_templates("[end] up on top of {o} / [plop] down on {o}"),
    ),
    "falls beside": ClauseTemplates(
        core=parse_template("[land] beside {o}"),
        plain=parse_templates("[end] up beside {o} / [come] to lie next to {o} / [land] next to {o}"),
        casual=parse_templates("[end] up next to {o} / [plop] down beside {o}"),
    ),
    "falls off": ClauseTemplates(
        core=parse_template("[fall] off {o}"),
        plain=parse_templates(
            "[fall] off the edge of {o} / [drop] over the edge of {o} / "
            "[go] over the edge of {o} and [fall] down"
        ),
        casual=parse_templates("[tumble] off {o} / [plunge] off the end of {o}"),
    ),
    "slides down": ClauseTemplates(
        core=parse_template("[{verb}] down {o} {dir}"),
        plain=parse_templates("[{verb}] down {o} {dir} / [{verb}] {dir} down {o} / [go] down {o} {dir}"),
        casual=parse_templates("[go] {verbing} down {o} {dir} / [come] {verbing} down {o}, heading {dir}"),
    ),
    "rests on": ClauseTemplates(
        core=parse_template("[rest] on {o}"),
        plain=parse_templates("[stay] on {o} / [rest] on {o} without moving / [remain] on {o}"),
        casual=parse_templates("[stay] put on {o} / [sit] still on {o}"),
    ),
    "hides": ClauseTemplates(
        core=parse_template("[disappear] behind {o}"),
        plain=parse_templates(
            "[vanish] behind {o} / [go] behind {o} / [pass] behind {o} / [move] out of sight behind {o}"
        ),
        casual=parse_templates("[slip] behind {o} / [duck] behind {o} / [hide] behind {o}"),
    ),
    "re-emerges": ClauseTemplates(
        core=parse_template("[reappear] {side}"),
        plain=parse_templates(
            "then: [come] out {side} / then: [emerge] {side} / [reappear] {side} / "
            "then: [come] back into view {side}"
        ),
        casual=parse_templates(
            "then: [pop] out {side} / [show] up again {side} / then: [turn] up again {side}"
        ),
    ),
    "stays hidden": ClauseTemplates(
        core=parse_template("[stay] hidden"),
        plain=parse_templates("[!come] out again / [stay] out of sight / [remain] hidden / but: [!reappear]"),
        casual=parse_templates("[!show] up again / [stay] back there / but: [!pop] out again"),
    ),
    "in front": ClauseTemplates(
        core=parse_template("[pass] in front of {o}"),
        plain=parse_templates("[pass] in front of {o} / [move] in front of {o} / [cross] in front of {o}"),
        casual=parse_templates("[go] by in front of {o} / [scoot] past in front of {o}"),
    ),
    "falls in": ClauseTemplates(
        core=parse_template("[fall] into {o}"),
        plain=parse_templates("[drop] into {o} / [land] inside {o} / [end] up inside {o}"),
        casual=parse_templates("[plop] into {o} / [end] up in {o} / [land] right in {o}"),
    ),
    "seesaw": ClauseTemplates(
        core=parse_template("[tip] {o} down {side}"),
        plain=parse_templates(
            "[push] the {end} end of {o} down / [tip] {o} down {side} / [make] {o} tip down {side}"
        ),
        casual=parse_templates("[send] the {end} end of {o} down / [slam] the {end} end of {o} down"),
    ),
    "thrown": ClauseTemplates(
        core=parse_template("[be] thrown into the air"),
        plain=parse_templates(
            "[be] thrown up into the air / [fly] up into the air / [be] tossed into the air"
        ),
        casual=parse_templates("[be] launched into the air / [go] flying up / [be] flung upward"),
    ),
    "left of": ClauseTemplates(
        core=parse_template("[stand] to the left of {o}"),
        terse=parse_template("left of {o}"),
        plain=parse_templates(
            "[be] to the left of {o} / [sit] to the left of {o} / [stand] on the left of {o} / "
            "[be] left of {o}"
        ),
        casual=parse_templates("[be] on the left-hand side of {o} / [be] placed to the left of {o}"),
    ),
    "right of": ClauseTemplates(
        core=parse_template("[stand] to the right of {o}"),
        terse=parse_template("right of {o}"),
        plain=parse_templates(
            "[be] to the right of {o} / [sit] to the right of {o} / [stand] on the right of {o} / "
            "[be] right of {o}"
        ),
        casual=parse_templates("[be] on the right-hand side of {o} / [be] placed to the right of {o}"),
    ),
    "middle": ClauseTemplates(
        core=parse_template("[stand] in the middle"),
        plain=parse_templates("[be] in the middle / [stand] between the others / [sit] in the middle"),
        casual=parse_templates("[be] the one in the middle"),
    ),
    "in a row": ClauseTemplates(
        core=parse_template("[stand] in a row"),
        plain=parse_templates("[be] lined up in a row / [stand] side by side in a row / [form] a row"),
        casual=parse_templates("[be] all in a row / [be] lined up in a row"),
    ),
    "count": ClauseTemplates(
        core=parse_template("[be] {ground}"),
        plain=parse_templates("[stand] {ground} / [be] {ground} / [rest] {ground}"),
        casual=parse_templates("[sit] {ground} / [be] right there {ground}"),
    ),
    "fallen": ClauseTemplates(
        core=parse_template("[knock] down {n}"),
        plain=parse_templates("ing: [knock] down {n} / [knock] {n} over / ing: [bring] down {n}"),
        casual=parse_templates("ing: [bowl] over {n} / ing: [flatten] {n}"),
    ),
    "topple": ClauseTemplates(
        core=parse_template("[fall] over one after another from the {end}"),
        terse=parse_template("[topple] from the {end}"),
        plain=parse_templates(
            "[topple] one after another, starting on the {end} / "
            "[fall] over one by one from the {end} / [topple] in a chain from the {end}"
        ),
        casual=parse_templates(
            "[go] down one after another from the {end} / [tumble] one by one, beginning on the {end}"
        ),
    ),
    "swings": ClauseTemplates(
        core=parse_template("[swing] on a rod"),
        plain=parse_templates("[swing] on a rod / [swing] to and fro on a rod / [swing] like a pendulum"),
        casual=parse_templates("[swing] back and forth on a rod / [dangle] from a rod and [swing]"),
    ),
    "circles": ClauseTemplates(
        core=parse_template("[circle] around {o} {turn}"),
        plain=parse_templates(
            "[orbit] {o} {turn} / [travel] around {o} {turn} / [fly] in circles around {o} {turn} / "
            "[circle] {o} {turn}"
        ),
        casual=parse_templates("[go] round and round {o} {turn} / [loop] around {o} {turn}"),
    ),
    "spins": ClauseTemplates(
        core=parse_template("[spin] {adv} {turn}"),
        plain=parse_templates(
            "[rotate] {adv} {turn} / [turn] in place {adv} {turn} / [revolve] {adv} {turn} / "
            "[spin] {turn} {adv}"
        ),
        casual=parse_templates(
            "[twirl] around {adv} {turn} / [whirl] {adv} {turn} / [keep] turning {adv} {turn}"
        ),
    ),
}
KNOCKED_OVER = parse_templates("ing: [knock] {it} over / ing: [tip] {it} over")
THROWN_AWAY = parse_templates("ing: [knock] {it} flying / ing: [send] {it} flying {dir}")
FALLEN_NONE = parse_templates("but: [!knock] any of them down / but: [!knock] down any of them")
FALLEN_ALONE = parse_templates("[fall] down / [fall] over / [topple]")
TOWER_FALLS = parse_templates("[collapse] / [fall] down / [come] down / [topple]")
CHAIN_STOPS = parse_templates("but: the chain stops after {n} / but: only {n} of them fall")
CHAIN_STOPS_EARLY = parse_templates("but: the chain stops early / but: the chain stops before the end")
NO_BOUNCE = parse_templates("[land] without bouncing / but: [!bounce] / [hit] the ground without bouncing")
STOPS_ON = parse_templates("[stop] on {o} / [come] to a stop on {o} / [end] up still on {o}")
"""For 'stops' merged with 'rests on'."""
FALLS_ONTO = parse_templates("[fall] onto {o} / [drop] onto {o} / [come] down on {o}")
"""For 'hits' at the end of a fall."""
KEEPS_MOVING = parse_template("[keep] {verbing} {dir} {adv}")
"""For 'moves' in the clip of a wall pair that has no wall."""
CONTINUES = parse_template("[continue] to {verb} {dir} {adv}")
"""The same in the gerund form, to avoid 'keeping rolling'."""
LIE_VERB = "[lie]"
"""Replaces '[stand]' and '[sit]' for shapes that lie."""
