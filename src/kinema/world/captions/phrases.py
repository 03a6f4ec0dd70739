"""The wording of claims: verb phrases, directions, speeds, camera moves.

A phrase is a small template. `[roll]` is a verb that agrees with its subject, `[!move]` the same verb
negated, `{o}` the object, `{it}` a pronoun for the thing last met, `{dir}` a direction, `{side}` a side,
`{n}` a number, `{verb}` and `{adv}` the manner and speed of a movement, `{ground}` the floor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kinema.world.facts import ClaimKind

Join = Literal["and", "but", "ing", "until", "then", "alone"]
"""How a phrase is tied to the one before it, when both have the same subject."""


@dataclass(frozen=True)
class Phrase:
    """One wording of one kind of claim."""

    text: str
    join: Join = "and"


@dataclass(frozen=True, kw_only=True)
class Wording:
    """All wordings of one kind of claim, by register."""

    core: Phrase
    plain: tuple[Phrase, ...]
    casual: tuple[Phrase, ...]
    terse: Phrase | None = None


def say(text: str) -> Phrase:
    """The phrase written as `text`, or as `join: text`."""
    join, colon, rest = text.partition(": ")
    for known in ("but", "ing", "until", "then"):
        if colon and join == known:
            return Phrase(rest, known)
    return Phrase(text)


def says(texts: str) -> tuple[Phrase, ...]:
    """Several phrases, with ` / ` between them."""
    return tuple(say(text) for text in texts.split(" / "))


WORDINGS: dict[ClaimKind, Wording] = {
    "moves": Wording(
        core=say("[{verb}] {adv} {dir}"),
        plain=says("[{verb}] {adv} {dir} / {early} [{verb}] {dir} / [{verb}] {dir} {adv}"),
        casual=says(
            "[{verb}] {adv} {dir} / [go] {verbing} {dir} {adv} / [come] {verbing} by {adv}, heading {dir}"
        ),
    ),
    "speed": Wording(
        core=say("[move] {adv}"),
        plain=says("[move] {adv}"),
        casual=says("[move] {adv} / [go] {adv}"),
    ),
    "stops": Wording(
        core=say("[stop]"),
        plain=says("[come] to a stop / then: [stop] / [come] to rest / then: [slow] down until it [stop]"),
        casual=says("[come] to a halt / [end] up still"),
    ),
    "leaves": Wording(
        core=say("[leave] the frame"),
        plain=says(
            "until: it [be] out of view / [leave] the picture / until: it [leave] the frame / "
            "[move] out of the frame"
        ),
        casual=says("[go] off screen / [disappear] out of the shot / until: it [be] gone from the picture"),
    ),
    "hits": Wording(
        core=say("[hit] {o}"),
        plain=says(
            "[strike] {o} / [collide] with {o} / [bump] into {o} / [run] into {o} / "
            "[meet] {o} with a bump / [hit] {o}"
        ),
        casual=says(
            "[crash] into {o} / [smack] into {o} / [bang] into {o} / [knock] against {o} / [slam] into {o}"
        ),
    ),
    "misses": Wording(
        core=say("[miss] {o}"),
        plain=says(
            "[pass] {o} without touching {it} / [go] past {o} without touching {it} / "
            "but: [miss] {o} / [pass] by {o} but [!touch] {it}"
        ),
        casual=says(
            "[sail] right past {o} without touching {it} / but: [!hit] {o} / [go] by {o} and [miss] {it}"
        ),
    ),
    "short of": Wording(
        core=say("but: [stop] before reaching {o}"),
        plain=says(
            "but: [stop] short of {o} / but: [!reach] {o} / but: [come] to rest before it [reach] {o}"
        ),
        casual=says(
            "but: [!make] it to {o} / but: [!get] as far as {o} / but: [give] up before reaching {o}"
        ),
    ),
    "pushed": Wording(
        core=say("ing: [push] {it} {dir}"),
        plain=says(
            "ing: [push] {it} {dir} / ing: [set] {it} moving {dir} / [shove] {it} {dir} / "
            "ing: [drive] {it} {dir}"
        ),
        casual=says("ing: [knock] {it} {dir} / ing: [send] {it} {dir}"),
    ),
    "stays": Wording(
        core=say("[!move]"),
        plain=says("[stay] where it [be] / [stay] in place / [!move] / [remain] still"),
        casual=says("[!budge] / [stay] put / [!move] at all"),
    ),
    "bounces back": Wording(
        core=say("[bounce] back"),
        plain=says("[bounce] back / [rebound]"),
        casual=says("[bounce] right back / [spring] back"),
    ),
    "tips over": Wording(
        core=say("[tip] over"),
        plain=says("[topple] over / [fall] over / [tip] over / [tip] onto its side"),
        casual=says("[keel] over / [tumble] over / [flop] over"),
    ),
    "stands": Wording(
        core=say("but: [stay] standing"),
        plain=says("but: [!fall] over / but: [remain] standing / but: [stay] upright"),
        casual=says("but: [stay] on its feet / but: [keep] standing / but: [!fall] down"),
    ),
    "falls": Wording(
        core=say("[fall] down"),
        plain=says("[fall] from above / [drop] down / [fall] through the air / [drop] from the air"),
        casual=says("[come] falling down / [plunge] down / [come] down from above"),
    ),
    "bounces": Wording(
        core=say("[bounce] {height}"),
        plain=says("[bounce] {height} / then: [bounce] {height}"),
        casual=says("[bounce] {height} / [hop] {height}"),
    ),
    "lands on": Wording(
        core=say("[land] on {o}"),
        plain=says(
            "[land] on top of {o} / [come] to rest on {o} / [settle] on {o} / [land] on {o} and [stay] there"
        ),
        casual=says("[end] up on top of {o} / [plop] down on {o}"),
    ),
    "falls beside": Wording(
        core=say("[land] beside {o}"),
        plain=says("[end] up beside {o} / [come] to lie next to {o} / [land] next to {o}"),
        casual=says("[end] up next to {o} / [plop] down beside {o}"),
    ),
    "falls off": Wording(
        core=say("[fall] off {o}"),
        plain=says(
            "[fall] off the edge of {o} / [drop] over the edge of {o} / "
            "[go] over the edge of {o} and [fall] down"
        ),
        casual=says("[tumble] off {o} / [plunge] off the end of {o}"),
    ),
    "slides down": Wording(
        core=say("[{verb}] down {o} {dir}"),
        plain=says("[{verb}] down {o} {dir} / [{verb}] {dir} down {o} / [go] down {o} {dir}"),
        casual=says("[go] {verbing} down {o} {dir} / [come] {verbing} down {o}, heading {dir}"),
    ),
    "rests on": Wording(
        core=say("[rest] on {o}"),
        plain=says("[stay] on {o} / [rest] on {o} without moving / [remain] on {o}"),
        casual=says("[stay] put on {o} / [sit] still on {o}"),
    ),
    "hides": Wording(
        core=say("[disappear] behind {o}"),
        plain=says(
            "[vanish] behind {o} / [go] behind {o} / [pass] behind {o} / [move] out of sight behind {o}"
        ),
        casual=says("[slip] behind {o} / [duck] behind {o} / [hide] behind {o}"),
    ),
    "re-emerges": Wording(
        core=say("[reappear] {side}"),
        plain=says(
            "then: [come] out {side} / then: [emerge] {side} / [reappear] {side} / "
            "then: [come] back into view {side}"
        ),
        casual=says("then: [pop] out {side} / [show] up again {side} / then: [turn] up again {side}"),
    ),
    "stays hidden": Wording(
        core=say("[stay] hidden"),
        plain=says("[!come] out again / [stay] out of sight / [remain] hidden / but: [!reappear]"),
        casual=says("[!show] up again / [stay] back there / but: [!pop] out again"),
    ),
    "in front": Wording(
        core=say("[pass] in front of {o}"),
        plain=says("[pass] in front of {o} / [move] in front of {o} / [cross] in front of {o}"),
        casual=says("[go] by in front of {o} / [scoot] past in front of {o}"),
    ),
    "falls in": Wording(
        core=say("[fall] into {o}"),
        plain=says("[drop] into {o} / [land] inside {o} / [end] up inside {o}"),
        casual=says("[plop] into {o} / [end] up in {o} / [land] right in {o}"),
    ),
    "seesaw": Wording(
        core=say("[tip] {o} down {side}"),
        plain=says("[push] the {end} end of {o} down / [tip] {o} down {side} / [make] {o} tip down {side}"),
        casual=says("[send] the {end} end of {o} down / [slam] the {end} end of {o} down"),
    ),
    "thrown": Wording(
        core=say("[be] thrown into the air"),
        plain=says("[be] thrown up into the air / [fly] up into the air / [be] tossed into the air"),
        casual=says("[be] launched into the air / [go] flying up / [be] flung upward"),
    ),
    "left of": Wording(
        core=say("[stand] to the left of {o}"),
        terse=say("left of {o}"),
        plain=says(
            "[be] to the left of {o} / [sit] to the left of {o} / [stand] on the left of {o} / "
            "[be] left of {o}"
        ),
        casual=says("[be] on the left-hand side of {o} / [be] placed to the left of {o}"),
    ),
    "right of": Wording(
        core=say("[stand] to the right of {o}"),
        terse=say("right of {o}"),
        plain=says(
            "[be] to the right of {o} / [sit] to the right of {o} / [stand] on the right of {o} / "
            "[be] right of {o}"
        ),
        casual=says("[be] on the right-hand side of {o} / [be] placed to the right of {o}"),
    ),
    "middle": Wording(
        core=say("[stand] in the middle"),
        plain=says("[be] in the middle / [stand] between the others / [sit] in the middle"),
        casual=says("[be] the one in the middle"),
    ),
    "in a row": Wording(
        core=say("[stand] in a row"),
        plain=says("[be] lined up in a row / [stand] side by side in a row / [form] a row"),
        casual=says("[be] all in a row / [be] lined up in a row"),
    ),
    "count": Wording(
        core=say("[be] {ground}"),
        plain=says("[stand] {ground} / [be] {ground} / [rest] {ground}"),
        casual=says("[sit] {ground} / [be] right there {ground}"),
    ),
    "fallen": Wording(
        core=say("[knock] down {n}"),
        plain=says("ing: [knock] down {n} / [knock] {n} over / ing: [bring] down {n}"),
        casual=says("ing: [bowl] over {n} / ing: [flatten] {n}"),
    ),
    "topple": Wording(
        core=say("[fall] over one after another from the {end}"),
        terse=say("[topple] from the {end}"),
        plain=says(
            "[topple] one after another, starting on the {end} / "
            "[fall] over one by one from the {end} / [topple] in a chain from the {end}"
        ),
        casual=says(
            "[go] down one after another from the {end} / [tumble] one by one, beginning on the {end}"
        ),
    ),
    "swings": Wording(
        core=say("[swing] on a rod"),
        plain=says("[swing] on a rod / [swing] to and fro on a rod / [swing] like a pendulum"),
        casual=says("[swing] back and forth on a rod / [dangle] from a rod and [swing]"),
    ),
    "circles": Wording(
        core=say("[circle] around {o} {turn}"),
        plain=says(
            "[orbit] {o} {turn} / [travel] around {o} {turn} / [fly] in circles around {o} {turn} / "
            "[circle] {o} {turn}"
        ),
        casual=says("[go] round and round {o} {turn} / [loop] around {o} {turn}"),
    ),
    "spins": Wording(
        core=say("[spin] {adv} {turn}"),
        plain=says(
            "[rotate] {adv} {turn} / [turn] in place {adv} {turn} / [revolve] {adv} {turn} / "
            "[spin] {turn} {adv}"
        ),
        casual=says("[twirl] around {adv} {turn} / [whirl] {adv} {turn} / [keep] turning {adv} {turn}"),
    ),
}
KNOCKED_OVER = says("ing: [knock] {it} over / ing: [tip] {it} over")
THROWN_AWAY = says("ing: [knock] {it} flying / ing: [send] {it} flying {dir}")
FALLEN_NONE = says("but: [!knock] any of them down / but: [!knock] down any of them")
FALLEN_ALONE = says("[fall] down / [fall] over / [topple]")
TOWER_FALLS = says("[collapse] / [fall] down / [come] down / [topple]")
CHAIN_STOPS = says("but: the chain stops after {n} / but: only {n} of them fall")
CHAIN_STOPS_EARLY = says("but: the chain stops early / but: the chain stops before the end")
NO_BOUNCE = says("[land] without bouncing / but: [!bounce] / [hit] the ground without bouncing")
STOPS_ON = says("[stop] on {o} / [come] to a stop on {o} / [end] up still on {o}")
"""'stops' and 'rests on' in one."""
FALLS_ONTO = says("[fall] onto {o} / [drop] onto {o} / [come] down on {o}")
"""'hits', at the end of a fall."""
KEEPS_MOVING = say("[keep] {verbing} {dir} {adv}")
"""'moves', where one might have expected a wall."""
CONTINUES = say("[continue] to {verb} {dir} {adv}")
"""The same behind 'a video of', where it would be 'keeping rolling'."""
LIES = "[lie]"
"""What capsules do where others '[stand]' or '[sit]'."""
