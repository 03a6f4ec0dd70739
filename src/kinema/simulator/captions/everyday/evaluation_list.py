"""The evaluation list: 200 prompts in everyday English, with their meaning as data.

The list has its own sentence patterns, none of which is used for training. Colours and shapes are those of
the lab, which the evaluator can measure. The prompts are derived from the patterns, and `DIGEST` pins them.
"""

from __future__ import annotations

import functools
import hashlib
import random
import re
from dataclasses import dataclass

from kinema.simulator.captions.everyday import senses
from kinema.simulator.captions.everyday.grammar import fix_articles, pluralize
from kinema.simulator.captions.everyday.meaning import Meaning, ObjectMeaning

COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")
NOUNS: dict[str, tuple[str, ...]] = {
    "ball": ("ball", "ball", "ball", "sphere", "orb"),
    "cube": ("cube", "cube", "box", "block"),
    "cylinder": ("cylinder", "cylinder", "can", "tube"),
    "cone": ("cone", "cone", "traffic cone"),
    "wall": ("wall", "screen", "panel", "barrier"),
}
SHADES = {
    "red": "scarlet",
    "cyan": "turquoise",
    "purple": "violet",
    "green": "emerald green",
    "blue": "royal blue",
}
SIZES = {"small": ("small", "tiny", "little"), "large": ("big", "large", "huge")}
COUNTS = {2: ("two", "2", "a couple of"), 3: ("three", "3"), 4: ("four", "4"), 5: ("five", "5")}
DIGEST = "829499d526f0b3d8abbf27b90f2989e04572b6121eef86ce3c7a5a50f74d09ea"
"""The value of `compute_digest`. The list must not change."""

# Pattern | event | notes. Letters are objects, in the order of the pattern. Notes: a= the actor, p= the
# patient, d= the direction, r= a relation and its objects, cam= the camera move. After a letter come its
# possible shapes: b(all), c(ube), y (cylinder), o (cone), w(all). `n` is a group, `-` has no article, `+`
# repeats an object.
TEMPLATES = """
guy drops {A:bcy}, just like that | fall | a=A
{A:bcyo} takes off from the right edge and ends up over at the left edge | move | a=A d=left
{A:bcy} crosses the picture, left edge first, right edge last | move | a=A d=right
can we get {A:b} that rolls over to the right, thanks | move | a=A d=right
need {A:b} rolling over to the left pls | move | a=A d=left
over to the left rolls {A:b}, taking its time | move | a=A d=left
so there is this {A:b-} and it goes rolling off to the right | move | a=A d=right
{A:b} rolling. direction of travel is left | move | a=A d=left
{A:b} makes a run to the right | move | a=A d=right
picture {A:cy} gliding leftwards over the floor | move | a=A d=left
{A:cy} being slid to the right across the floor | move | a=A d=right
{A:b} on its way to us, getting bigger | move | a=A d=toward
{A:b} comes rolling straight for the viewer | move | a=A d=toward
{A:b} gets smaller and smaller as it rolls off to the back | move | a=A d=away
{A:b} rolling off into the depth of the scene, away from us | move | a=A d=away
{A:b} rolls up to the lens | move | a=A d=toward
{A:b} travels right for a bit and then it just stops there | stop | a=A d=right
rolling left, losing speed, standing still in the end: {A:b} | stop | a=A d=left
{A:b} brakes to a standstill after a roll to the right | stop | a=A d=right
{A:b} rolled left and has now come to rest | stop | a=A d=left
whoops, {A:bcy} just dropped out of nowhere | fall | a=A
{A:bcyo} in free fall until it meets the floor | fall | a=A
from way up there, {A:bcyo} comes falling | fall | a=A
{A:bcy} let go in mid-air | fall | a=A
plop, {A:bcy} falls on the floor | fall | a=A
the floor waits while {A:bcyo} plunges toward it | fall | a=A
{A:b} falls and jumps right back up again | bounce | a=A
boing! {A:b} bounces really high | bounce | a=A
throw {A:b} down so it bounces high | bounce | a=A
{A:b} lands on the ground and shoots back up in the air | bounce | a=A
{A:bc} falls, thud, no bounce whatsoever | fall without a bounce | a=A
{A:cyo} drops and just sits there without a single bounce | fall without a bounce | a=A
{A:b} bumps {B:cyo} while rolling along | hit | a=A p=B
{A:b} goes straight for {B:cyo} and they crash | hit | a=A p=B
{B:cyo}, minding its own business, gets rammed by {A:b} | hit | a=A p=B
{B:cyo} is struck from the side by {A:b} | hit | a=A p=B
bang: {A:b} into {B:cyo} | hit | a=A p=B
{A:b} rolls right and there it meets {B:cyo} with a bump | hit | a=A p=B d=right
{A:b} rolls left and smacks {B:cyo} | hit | a=A p=B d=left
the one that gets hit is {B:cyo}, the one that does the hitting is {A:b} | hit | a=A p=B
what if {A:b} ran into {B:cyo}? | hit | a=A p=B
{A:b} crash test with {B:cyo} as the target | hit | a=A p=B
{A:b} gives {B:c} a push | push | a=A p=B
{B:c} gets moved out of its spot because {A:b} bumps it | push | a=A p=B
after being hit by {A:b}, {B:c} goes sliding | push | a=A p=B
{A:b} rolls up and shoves {B:c} along | push | a=A p=B
{B:c} slides after the blow from {A:b} | push | a=A p=B
timber! {B:yo} falls when {A:b} runs into it | knock over | a=A p=B
{A:b} takes out {B:yo}, which ends up lying on the floor | knock over | a=A p=B
{B:yo} standing, then {A:b} arrives, then {B:yo+} lying | knock over | a=A p=B
{B:yo} can't stay upright once {A:b} has hit it | knock over | a=A p=B
{A:b} bowls {B:yo} over, like in bowling | knock over | a=A p=B
make {A:b} roll so hard into {B:yo} that it falls on its side | knock over | a=A p=B
{A:b} whizzes past {B:cyo}, phew, no crash | miss | a=A p=B
nope, {A:b} fails to hit {B:cyo} and just rolls on | miss | a=A p=B
{A:b} rolls by and {B:cyo} isn't even grazed | miss | a=A p=B
a near miss between {A:b} and {B:cyo} | miss | a=A p=B
{A:b} gives up rolling before it gets to {B:cyo} | stop short | a=A p=B
{A:b} nearly makes it to {B:cyo}, but stops | stop short | a=A p=B
peekaboo: {A:b} rolls behind {B:w} and comes out the other end | hide and come out | a=A p=B
{A:b} rolls along, {B:w} hides it for a second, there it is again | hide and come out | a=A p=B
now you see {A:b}, now it is behind {B:w}, now you see it again | hide and come out | a=A p=B
{A:b} rolls behind {B:w} and that's the last we see of it | hide and stay | a=A p=B
{A:b} goes into hiding behind {B:w} and remains there | hide and stay | a=A p=B
{A:b} rolls past on the near side of {B:w} | pass in front | a=A p=B
{B:w} in the back, {A:b} rolling by before it | pass in front | a=A p=B
{A:bcyo} has {B:bcyo} to its right | none | r=left,A,B
{A:bcyo} has {B:bcyo} to its left | none | r=left,B,A
left side {A:bcyo}, right side {B:bcyo} | none | r=left,A,B
look to the left for {A:bcyo} and to the right for {B:bcyo} | none | r=left,A,B
{A:bcyo} over on the right, {B:bcyo} over on the left | none | r=left,B,A
the thing on the left is {A:bcyo}, the thing on the right is {B:bcyo} | none | r=left,A,B
{A:bcyo} positioned right of {B:bcyo} | none | r=left,B,A
{A:bcyo} parked to the left of {B:bcyo} | none | r=left,A,B
to the right of {A:bcyo} one sees {B:bcyo} | none | r=left,A,B
{A:bcyo} and, next to it, {B:bcyo} | none | r=next,A,B
{A:bcyo} keeps {B:bcyo} company, side by side | none | r=next,A,B
{A:bcyo} right beside {B:bcyo}, neither one moving | none | r=next,A,B
squeezed in between {A:bcyo} and {C:bcyo} is {B:bcyo} | none | r=between,B
{A:bcyo}, in the middle of {B:bcyo} and {C:bcyo} | none | r=between,A
a lineup, left to right it's {A:bcyo}, {B:bcyo}, {C:bcyo} | none | r=between,B
{A:bcyo} comes down and remains sitting on {B:c} | land on | a=A p=B
{A:c} falls neatly on top of {B:c} | land on | a=A p=B
{A:b} falls on {B:c} but rolls off next to it | land beside | a=A p=B
one is {A:bcyo}, the other is {B:bcyo} | none |
{A:bcyo} plus also {B:bcyo} please | none |
in this one you get {A:bcyo} and you get {B:bcyo} | none |
{A:bcyo} shares the floor with {B:bcyo} | none |
{A:bcyon}, just standing about | still | a=A
{A:bcyon} lined up on the floor | still | a=A
how many? {A:bcyon}! | still | a=A
{A:bcyon-} in total on the ground | still | a=A
someone put {A:bcyon} on the floor | still | a=A
{A:bn} rolling left as a team | move | a=A d=left
{A:bn} rolling right, one next to the other | move | a=A d=right
{A:bcyo} doing absolutely nothing | still | a=A
{A:bcyo} and the camera creeping toward it | none | cam=dolly in
zooming in on {A:bcyo} bit by bit | none | cam=zoom in
zooming away from {A:bcyo} so it gets smaller | none | cam=zoom out
{A:bcyo}, the camera panning over to the right | none | cam=pan right
{A:bcyo} while we slowly pan over to the left | none | cam=pan left
the camera goes around {A:bcyo} toward the right in a circle | none | cam=orbit right
{A:bcyo} and a camera that doesn't budge | none | cam=static
"""
_SHAPES = {"b": "ball", "c": "cube", "y": "cylinder", "o": "cone", "w": "wall"}
_SLOT = re.compile(r"\{([ABC])(?::([bcyowpn]+)(-?)(\+?))?\}")
_NUM_PROMPTS = 200
_PROMPTS_PER_PATTERN = 2


@dataclass(frozen=True, kw_only=True)
class EvaluationPrompt:
    """One prompt of the evaluation list."""

    index: int
    prompt: str
    pattern: str
    meaning: Meaning
    seed: int
    """Seed of the initial noise of the video."""

    def to_dict(self) -> dict:
        """The values as JSON types."""
        return {
            "index": self.index,
            "prompt": self.prompt,
            "pattern": self.pattern,
            "seed": self.seed,
            "meaning": self.meaning.to_dict(),
        }


@functools.cache
def evaluation_prompts() -> tuple[EvaluationPrompt, ...]:
    """The 200 prompts: one of every pattern, then a second one of the first patterns."""
    rows = [line.split(" | ") if " | " in line else [line] for line in TEMPLATES.strip().splitlines()]
    rows = [[part.strip(" |") for part in row] for row in rows]
    items: list[EvaluationPrompt] = []
    for number in range(_PROMPTS_PER_PATTERN):
        for pattern, event, *notes in rows:
            if len(items) < _NUM_PROMPTS:
                items.append(_item(len(items), number, pattern, event, notes[0] if notes else ""))
    return tuple(items)


def _item(index: int, number: int, pattern: str, event: str, notes: str) -> EvaluationPrompt:
    digest = hashlib.sha256(f"everyday|{pattern}|{number}".encode()).digest()
    rng = random.Random(int.from_bytes(digest[:8], "big"))
    objects: dict[str, ObjectMeaning] = {}
    nouns: dict[str, str] = {}

    def slot(found: re.Match[str]) -> str:
        letter, kinds, bare, again = found.groups()
        if again or letter in objects:
            return f"the {nouns[letter]}"
        obj, words, noun = _sample_object(kinds, list(objects.values()), rng)
        objects[letter], nouns[letter] = obj, noun
        body = " ".join([*words, noun])
        if obj.count > 1:
            return f"{rng.choice(COUNTS[obj.count])} {body}"
        return body if bare else fix_articles(f"{rng.choice(('a', 'a', 'a', 'one'))} {body}")

    text = _SLOT.sub(slot, pattern)
    if rng.random() < 0.3:
        text = text[0].upper() + text[1:]
    order = list(objects)
    notes_by_key = dict(part.split("=", 1) for part in re.findall(r"\w+=[^=]+?(?= \w+=|$)", notes))
    relation, related = _relation(notes_by_key.get("r", ""), order)
    meaning = Meaning(
        objects=tuple(objects.values()),
        event=event,
        direction=notes_by_key.get("d", ""),
        actor=order.index(notes_by_key["a"]) if "a" in notes_by_key else None,
        patient=order.index(notes_by_key["p"]) if "p" in notes_by_key else None,
        relation=relation,
        related=related,
        camera=notes_by_key.get("cam", ""),
    )
    seed = int.from_bytes(digest[8:12], "big") >> 1
    return EvaluationPrompt(index=index, prompt=text, pattern=pattern, meaning=meaning, seed=seed)


def _sample_object(
    kinds: str, previous: list[ObjectMeaning], rng: random.Random
) -> tuple[ObjectMeaning, list[str], str]:
    """Sample an object that differs from the previous ones, with its adjectives and noun."""
    several = "n" in kinds
    colours = [c for c in COLOURS if c not in {obj.colour for obj in previous}]
    shape = _SHAPES[rng.choice([k for k in kinds if k != "n"])]
    if any(obj.shape == shape for obj in previous) and rng.random() < 0.6:
        shape = _SHAPES[rng.choice([k for k in kinds if k != "n"])]
    colour = rng.choice(colours) if rng.random() < 0.85 or any(t.shape == shape for t in previous) else ""
    size = rng.choice(("small", "large")) if shape != "wall" and not several and rng.random() < 0.2 else ""
    count = rng.randint(2, 5 if shape != "ball" else 4) if several else 1
    words = [rng.choice(SIZES[size])] if size else []
    if colour:
        words.append(SHADES[colour] if colour in SHADES and rng.random() < 0.2 else colour)
    noun = rng.choice(NOUNS[shape])
    noun = pluralize(noun) if several else noun
    return ObjectMeaning(shape=shape, colour=colour, size=size, count=count), words, noun


def _relation(note: str, order: list[str]) -> tuple[str, tuple[int, int] | None]:
    if not note:
        return "", None
    kind, one, *other = note.split(",")
    if kind == "between":
        return "between", (order.index(one), -1)
    pair = order.index(one), order.index(other[0])
    if kind == "next":
        return "next to", (min(pair), max(pair))
    return {"left": "left of"}[kind], pair


def compute_digest() -> str:
    """SHA-256 of all prompts and seeds."""
    text = "\n".join(f"{item.prompt}|{item.seed}" for item in evaluation_prompts())
    return hashlib.sha256(text.encode()).hexdigest()


_WORDS = sorted(
    {
        w
        for table in (senses.SHAPES, senses.COLOURS, senses.MATERIALS, senses.SIZES, senses.WEIGHTS)
        for v in table.values()
        for w in v
    }
    | {w for options in senses.NUMBERS.values() for w in options}
    | {*senses.SOME, *senses.ONE, *senses.VAGUE}
    | {"the", "an", "another", "first", "second"},
    key=len,
    reverse=True,
)
_THING = re.compile(r"(?:\b(?:" + "|".join(map(re.escape, _WORDS)) + r")(?:s|es)?\b ?)+")


def skeleton(prompt: str) -> str:
    """Replace the objects of a prompt: 'a red ball hits a cube' becomes '# hits #'."""
    return re.sub(r"[^a-z#' ]+", "", _THING.sub("# ", prompt.lower())).strip()
