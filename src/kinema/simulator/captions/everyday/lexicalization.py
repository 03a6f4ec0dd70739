"""Fills the slots of a pattern with noun phrases, verbs and values, and collects what they state."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from kinema.simulator.annotations import ClipAnnotations, EntityAnnotation
from kinema.simulator.captions.everyday import senses
from kinema.simulator.captions.everyday.grammar import fix_articles, inflect, pluralize
from kinema.simulator.captions.everyday.split import Split, is_word_held_out, words_in_split
from kinema.simulator.captions.everyday.statements import EntityRef, Situation, Statement

_SHAPES_WITHOUT_SIZE = (
    "wall",
    "screen",
    "ramp",
    "table",
    "plank",
    "box",
    "pin",
    "domino",
    "block",
    "rod",
    "pivot",
)
_SHAPES_WITHOUT_MATERIAL = ("snowman", "pin", "table", "plank")
_SLOT = re.compile(r"\{([^}]+)\}")
LETTERS = "ABCDG"
_QUICK = {"quickly": "roll quickly", "slowly": "roll slowly"}


@dataclass(kw_only=True)
class Mention:
    """The first mention of an entity or a group."""

    noun: str
    plural: bool
    colour: str = ""
    order: int = 0


@dataclass(kw_only=True)
class RealizationState:
    """The state of one caption during realization."""

    annotations: ClipAnnotations
    rng: random.Random
    split: Split
    """Split of the words."""
    mentions: dict[EntityRef, Mention] = field(default_factory=dict)
    statements: list[Statement] = field(default_factory=list)
    word_choices: list[tuple[str, str]] = field(default_factory=list)
    speed_stated: bool = False

    def word(self, sense: str, options: Sequence[str], *, plain: float = 0.4) -> str:
        """Choose a word of a sense: its first with probability `plain`, else any."""
        options = tuple(options)
        options_in_split = words_in_split(sense, options, self.split)
        word = (
            options[0]
            if options[0] in options_in_split and self.rng.random() < plain
            else self.rng.choice(options_in_split)
        )
        self.word_choices.append((sense, word))
        return word

    def add_statements(self, statements: Sequence[Statement]) -> None:
        """Record statements of the text; each is stored once."""
        for statement in statements:
            if statement not in self.statements:
                self.statements.append(statement)

    def noun_phrase(self, ref: EntityRef, article: str) -> str:
        """Refer to an entity or a group: a full description at first mention, then a short one."""
        if ref in self.mentions:
            return self._short(ref, bare=article == "bare")
        if article in ("noun", "it") and ref not in self.mentions:
            article = "the"
        return (
            self._describe_group(ref, article)
            if isinstance(ref, str)
            else self._describe_entity(ref, article)
        )

    def pronoun(self, ref: EntityRef) -> str:
        """'it' or 'them'."""
        return "them" if ref in self.mentions and self.mentions[ref].plural else "it"

    def plural(self, ref: EntityRef) -> bool:
        """Whether verbs with this subject are plural."""
        if ref in self.mentions:
            return self.mentions[ref].plural
        return isinstance(ref, str) and self._kind(ref) != "tower"

    def _short(self, ref: EntityRef, *, bare: bool) -> str:
        name = self.mentions[ref]
        rivals = [other for key, other in self.mentions.items() if key != ref and other.noun == name.noun]
        noun = name.noun
        if rivals:
            if name.colour and all(other.colour != name.colour for other in rivals):
                noun = f"{name.colour} {noun}"
            else:
                noun = ("first", "second", "third", "fourth")[min(3, name.order)] + f" {noun}"
        return noun if bare else f"the {noun}"

    def _noun(self, ref: EntityRef, shape: str, *, plain: float = 0.4) -> str:
        if self.rng.random() < 0.05 and shape not in (
            "plank",
            "ramp",
            "box",
            "table",
            "pin",
            "domino",
            "block",
        ):
            return self.rng.choice(senses.VAGUE)
        noun = self.word(f"shape {shape}", senses.SHAPES[shape], plain=plain)
        self.add_statements([Statement(kind="shape", subject=ref, value=shape)])
        return noun

    def _adjectives(self, ref: EntityRef, entity: EntityAnnotation) -> tuple[list[str], str, str]:
        """Adjectives, the phrase after the noun, and the colour word."""
        rng, before, tail, colour = self.rng, [], "", ""
        statements = self.statements
        if entity.shape not in _SHAPES_WITHOUT_SIZE and isinstance(ref, int):
            chance = 0.03 if entity.size == "medium" else 0.35
            if rng.random() < chance:
                before.append(self.word(f"size {entity.size}", senses.SIZES[entity.size], plain=0.35))
                statements.append(Statement(kind="size", subject=ref, value=entity.size))
        if self.annotations.cause in senses.WEIGHTS and entity.role == "main" and rng.random() < 0.6:
            before.append(
                self.word(f"weight {self.annotations.cause}", senses.WEIGHTS[self.annotations.cause])
            )
            statements.append(Statement(kind="weight", subject=ref, value=self.annotations.cause))
        if entity.colour is not None and rng.random() < 0.84:
            colour = self.word(f"colour {entity.colour}", senses.COLOURS[entity.colour], plain=0.55)
            before.append(colour)
            statements.append(Statement(kind="colour", subject=ref, value=entity.colour))
        if entity.pattern in senses.PATTERNS and entity.second_colour and rng.random() < 0.4:
            pattern = self.word(f"pattern {entity.pattern}", senses.PATTERNS[entity.pattern])
            second = ""
            if colour and entity.second_colour != entity.colour and rng.random() < 0.5:
                second = senses.COLOURS[entity.second_colour][0]
                statements.append(Statement(kind="second colour", subject=ref, value=entity.second_colour))
            statements.append(Statement(kind="pattern", subject=ref, value=entity.pattern))
            if pattern.startswith(("with ", "in ")):
                tail = f" {pattern.replace('with ', f'with {second} ') if second else pattern}".replace(
                    "  ", " "
                )
            elif second:
                before[-1] = f"{before[-1]} and {second} {pattern}"
            else:
                before.append(pattern)
        material_probability = 0.75 if entity.colour is None else 0.16
        if entity.shape not in _SHAPES_WITHOUT_MATERIAL and rng.random() < material_probability:
            before.append(
                self.word(f"material {entity.material}", senses.MATERIALS[entity.material], plain=0.5)
            )
            statements.append(Statement(kind="material", subject=ref, value=entity.material))
        return before, tail, colour

    def _describe_entity(self, ref: int, article: str) -> str:
        rng, entity = self.rng, self.annotations.entities[ref]
        before, tail, colour = self._adjectives(ref, entity)
        noun = self._noun(ref, entity.shape)
        twin = any(name.noun == noun for name in self.mentions.values())
        self.mentions[ref] = Mention(noun=noun, plural=False, colour=colour, order=0)
        self.mentions[ref].order = sum(n.noun == noun for n in self.mentions.values()) - 1
        place = rng.random()
        if before and place < 0.05 and not tail:
            body = f"{noun} that is {' and '.join(before)}"
        elif before and place < 0.08:
            rng.shuffle(before)
            body = " ".join([*before, noun]) + tail
        elif len(before) > 1 and place < 0.12:
            body = ", ".join(before) + f" {noun}{tail}"
        else:
            body = " ".join([*before, noun]) + tail
        if article == "bare":
            return body
        if article == "the":
            return f"the {body}"
        if twin and not before and rng.random() < 0.7:
            return f"another {body}"
        return fix_articles(f"{rng.choice(senses.ONE)} {body}")

    def _kind(self, group: str) -> str:
        return {"tower": "tower", "dominoes": "dominoes", "pins": "pins"}.get(group, "count")

    def _members(self, group: str) -> list[EntityAnnotation]:
        return [entity for entity in self.annotations.entities if entity.group == group]

    def _describe_group(self, ref: str, article: str) -> str:
        rng, members, kind = self.rng, self._members(ref), self._kind(ref)
        number, first = len(members), members[0]
        before: list[str] = []
        tail = colour = ""
        if len({(m.colour, m.material, m.pattern, m.second_colour) for m in members}) == 1 and kind != "pins":
            before, tail, colour = self._adjectives(ref, first)
        noun = self._noun(ref, first.shape)
        nouns = pluralize(noun)
        vague = rng.random() < (0.15 if kind == "count" else 0.45)
        count = (
            ""
            if vague
            else self.word(f"number {number}", senses.NUMBERS.get(number, (str(number),)), plain=0.5)
        )
        if count:
            self.add_statements([Statement(kind="count", subject=ref, number=number, value=str(number))])
        body = " ".join([*before, nouns]) + tail
        if kind == "tower":
            head = rng.choice(("tower", "stack", "pile", "tower"))
            self.mentions[ref] = Mention(noun=head, plural=False, colour=colour)
            text = f"{head} of {count} {body}".replace("  ", " ")
            return text if article == "bare" else f"{'the' if article == 'the' else 'a'} {text}"
        self.mentions[ref] = Mention(noun=nouns, plural=True, colour=colour)
        if kind == "dominoes" and rng.random() < 0.45:
            head = rng.choice(("row", "line", "chain"))
            text = f"{head} of {count} {body}".replace("  ", " ")
            return text if article == "bare" else f"{'the' if article == 'the' else 'a'} {text}"
        if article == "the" and " of" not in count:
            return f"the {count} {body}".replace("  ", " ")
        if not count:
            return body if article == "bare" or rng.random() < 0.3 else f"{rng.choice(senses.SOME)} {body}"
        return f"{count} {body}"


def is_usable(pattern: str, situation: Situation) -> bool:
    """Whether the situation has a role or a value for every slot of a pattern."""
    for slot in _SLOT.findall(pattern):
        head = slot.split(".")[0]
        if head in LETTERS and head not in situation.roles:
            return False
        if head in _VALUES and head not in situation.values:
            return False
        if head == "go" and "go" not in situation.values:
            return False
    return True


_VALUES = ("dir", "side", "turn", "speed", "pdir", "cdir", "n", "end", "rel", "height")


def realize_pattern(pattern: str, situation: Situation, state: RealizationState) -> str:
    """Fill the slots of a pattern. The statements are recorded in `state`."""
    rng, values, roles = state.rng, situation.values, situation.roles
    verb = _choose_motion_verb(situation, state, pattern)

    def slot(found: re.Match[str]) -> str:
        text = found[1]
        optional = text.endswith("?")
        head, *rest = text.rstrip("?").split(".")
        if head in LETTERS:
            article = rest[0] if rest else "a"
            return state.pronoun(roles[head]) if article == "it" else state.noun_phrase(roles[head], article)
        if head in ("is", "was", "has"):
            many = state.plural(roles[rest[0] if rest else ("A" if "A" in roles else "G")])
            return {"is": ("is", "are"), "was": ("was", "were"), "has": ("has", "have")}[head][many]
        if head == "still":
            many = state.plural(roles[rest[0] if rest else "A"])
            # Singular and plural forms have the same index in the two tuples.
            index = senses.STILL.index(state.word("still", senses.STILL, plain=0.2))
            return (senses.STILL_PLURAL if many else senses.STILL)[index]
        if head in _VALUES:
            if head not in values or (optional and rng.random() < 0.4):
                return ""
            if head == "speed" and state.speed_stated:
                return ""
            state.add_statements(values[head].statements)
            return _realize_value(head, values[head].value, state)
        form = rest[0]
        owner = rest[1] if len(rest) > 1 else "A" if "A" in roles else "G"
        if head == "go":
            return inflect(verb, form, plural=state.plural(roles[owner]))
        sense = state.word(f"verb {head}", senses.VERBS[head], plain=0.25)
        return inflect(sense, form, plural=state.plural(roles[owner]))

    return fix_articles(_SLOT.sub(slot, pattern.removeprefix("*")))


def _choose_motion_verb(situation: Situation, state: RealizationState, pattern: str) -> str:
    """Choose the verb of motion; every slot of a pattern uses the same one."""
    if "{go" not in pattern:
        return ""
    go, speed = situation.values["go"], situation.values.get("speed")
    if speed is not None and "{speed}" not in pattern and state.rng.random() < 0.3:
        state.speed_stated = True
        state.add_statements(speed.statements)
        return state.word(f"verb {_QUICK[speed.value]}", senses.VERBS[_QUICK[speed.value]])
    if state.rng.random() < 0.12:
        return state.word("verb move", senses.VERBS["move"])
    state.add_statements(go.statements)
    return state.word(f"verb {go.value}", senses.VERBS[go.value], plain=0.5)


def _realize_value(head: str, value: str, state: RealizationState) -> str:
    match head:
        case "dir":
            return state.word(f"direction {value}", senses.DIRECTIONS[value], plain=0.35)
        case "pdir" | "cdir":
            return state.word(f"push {value}", senses.PUSHES[value], plain=0.4)
        case "side":
            return state.word(f"side {value}", senses.SIDES[value], plain=0.4)
        case "turn":
            return state.word(f"turn {value}", senses.TURNS[value], plain=0.4)
        case "speed":
            return state.word(f"speed {value}", senses.SPEEDS[value], plain=0.35)
        case "height":
            return state.word(f"height {value}", senses.HEIGHTS[value], plain=0.4)
        case "rel":
            return state.word(f"relation {value}", senses.RELATIONS[value], plain=0.35)
        case "n":
            number = int(value)
            if number == 1:
                return "one"
            return senses.NUMBERS[number][state.rng.randrange(2)] if number in senses.NUMBERS else value
        case _:
            return value


def held_out_words(word_choices: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Those of the words that are held out of training."""
    first = {f"{kind} {key}": options[0] for kind, key, options in all_senses()}
    return tuple(
        (sense, word)
        for sense, word in word_choices
        if first.get(sense) != word and is_word_held_out(sense, word)
    )


def all_senses() -> list[tuple[str, str, tuple[str, ...]]]:
    """(kind, key, words) of every sense. The name of a sense is `f"{kind} {key}"`."""
    tables: dict[str, dict] = {
        "shape": senses.SHAPES,
        "colour": senses.COLOURS,
        "material": senses.MATERIALS,
        "pattern": senses.PATTERNS,
        "size": senses.SIZES,
        "weight": senses.WEIGHTS,
        "number": senses.NUMBERS,
        "verb": senses.VERBS,
        "direction": senses.DIRECTIONS,
        "push": senses.PUSHES,
        "side": senses.SIDES,
        "turn": senses.TURNS,
        "speed": senses.SPEEDS,
        "height": senses.HEIGHTS,
        "relation": senses.RELATIONS,
        "sky": senses.SKIES,
        "floor": senses.FLOORS,
        "decor": senses.BACKGROUNDS,
        "backdrop": senses.WALLS,
    }
    found = [
        (kind, str(key), tuple(options)) for kind, table in tables.items() for key, options in table.items()
    ]
    for move, (labels, clauses) in senses.CAMERAS.items():
        found += [("label", move, labels), ("clause", move, clauses)]
    return found
