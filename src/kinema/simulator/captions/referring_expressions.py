"""Referring expressions: 'a small red rubber ball' first, then 'the ball', then 'it'."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from kinema.simulator.annotations import ClipAnnotations, EntityAnnotation
from kinema.simulator.captions import lexicon

EntityRef = int | str
"""The index of an entity, or the name of a group."""

Detail = Literal["core", "some", "full"]
Register = Literal["core", "terse", "plain", "casual"]

Item = TypeVar("Item")


def pick(rng: random.Random, options: Sequence[Item]) -> Item:
    """Choose one option uniformly."""
    return options[rng.randrange(len(options))]


@dataclass(frozen=True, kw_only=True)
class Group:
    """Several entities described together."""

    name: str
    members: tuple[EntityAnnotation, ...]
    number: int
    claim: int | None
    """Index of the claim that states the number."""


def collect_groups(annotations: ClipAnnotations) -> dict[str, Group]:
    """The groups that claims mention, by name."""
    groups = {}
    for name in sorted({claim.group for claim in annotations.claims if claim.group}):
        members = tuple(entity for entity in annotations.entities if entity.group == name)
        counted = next(
            (
                (index, int(claim.value))
                for index, claim in enumerate(annotations.claims)
                if claim.kind == "count" and claim.group == name and claim.value.isdecimal()
            ),
            (None, len(members)),
        )
        groups[name] = Group(name=name, members=members, number=counted[1], claim=counted[0])
    return groups


@dataclass(kw_only=True)
class ReferenceTracker:
    """Names the entities of a clip within one caption and remembers what was mentioned."""

    annotations: ClipAnnotations
    groups: Mapping[str, Group]
    rng: random.Random
    detail: Detail
    register: Register
    mentioned: dict[EntityRef, str] = field(default_factory=dict)
    """The noun used for each entity or group mentioned so far; '*' in front marks a plural."""
    colour_words: dict[int, str] = field(default_factory=dict)
    """The colour word used for each entity mentioned so far."""
    stated_claims: set[int] = field(default_factory=set)
    """Indices of the claims stated by referring expressions: the numbers of groups."""

    def is_plural(self, ref: EntityRef) -> bool:
        """Whether verbs and pronouns for the reference are plural."""
        if isinstance(ref, int):
            return False
        return self.groups[ref].number > 1 and self.mentioned.get(ref, "").startswith("*")

    def mention(self, ref: EntityRef, *, bare: bool = False) -> str:
        """The name with an article: indefinite and full the first time, definite and short afterwards.

        Args:
            ref: the entity or group.
            bare: leave the article out.
        """
        if ref in self.mentioned:
            short = self._short_description(ref)
            return short if bare else f"the {short}"
        if isinstance(ref, str):
            return self._group_description(self.groups[ref], bare=bare)
        entity = self.annotations.entities[ref]
        has_twin = any(
            self._colour_and_shape(self.annotations.entities[other]) == self._colour_and_shape(entity)
            for other in self.mentioned
            if isinstance(other, int)
        )
        name = self._full_description(entity)
        if bare:
            return name
        if has_twin:
            return f"another {name}"
        return lexicon.add_article(name)

    def pronoun(self, ref: EntityRef, *, is_object: bool = False) -> str:
        """The pronoun for a reference: 'it', 'they' or 'them'."""
        if self.is_plural(ref):
            return "them" if is_object else "they"
        return "it"

    def named_entities(self) -> list[EntityAnnotation]:
        """The entities that are named individually."""
        return [
            entity for entity in self.annotations.entities if entity.named and entity.group not in self.groups
        ]

    def _pick_by_detail(self, options: Sequence[Item]) -> Item:
        """The first option in core captions, else a random one."""
        return options[0] if self.detail == "core" else pick(self.rng, options)

    def _colour_and_shape(self, entity: EntityAnnotation) -> tuple[str, str]:
        return (entity.colour or entity.material, entity.shape)

    def _choose_noun(self, entity: EntityAnnotation) -> str:
        words = lexicon.SHAPES[entity.shape]
        if self.register == "core" or self.register == "terse":
            return words[0]
        if self.register == "casual":
            return pick(self.rng, words[1:] or words) if self.rng.random() < 0.6 else words[0]
        return words[0] if self.rng.random() < 0.75 else pick(self.rng, words)

    def _choose_colour_word(self, colour: str) -> str:
        words = lexicon.COLOURS[colour]
        if self.register == "casual" and self.rng.random() < 0.6:
            return pick(self.rng, words[1:])
        if self.register == "plain" and self.rng.random() < 0.12:
            return pick(self.rng, words[1:])
        return words[0]

    def _full_description(self, entity: EntityAnnotation) -> str:
        core = self.detail == "core"
        similar = [
            other
            for other in self.named_entities()
            if other.index != entity.index and self._colour_and_shape(other) == self._colour_and_shape(entity)
        ]
        words: list[str] = []
        if (core and any(other.size != entity.size for other in similar)) or (
            not core
            and entity.size != "medium"
            and self.rng.random() < (0.85 if self.detail == "full" else 0.35)
        ):
            words.append(self._pick_by_detail(lexicon.SIZES[entity.size]))
        weight = lexicon.WEIGHTS.get(self.annotations.cause)
        if weight and entity.role == "main":
            words.append(self._pick_by_detail(weight))
        material = lexicon.MATERIALS[entity.material]
        mention_material = (
            entity.colour is None
            or (core and any(other.material != entity.material for other in similar))
            or (self.detail == "full" and self.rng.random() < 0.85)
            or (self.detail == "some" and self.rng.random() < 0.3)
        ) and entity.shape not in ("snowman", "pin")
        before = self.detail == "full" and material.appearance and self.rng.random() < 0.35
        if mention_material and entity.colour is not None and before:
            words.append(pick(self.rng, material.appearance))
            mention_material = False
        tail = ""
        if entity.colour is not None:
            colour = self._choose_colour_word(entity.colour)
            self.colour_words[entity.index] = colour
            pattern, tail = self._pattern_words(entity)
            words += [colour, *pattern]
        if mention_material:
            adjectives = material.substance
            words.append(self._pick_by_detail(adjectives))
        noun = self._choose_noun(entity)
        self.mentioned[entity.index] = noun
        return " ".join([*words, noun]) + tail

    def _pattern_words(self, entity: EntityAnnotation) -> tuple[list[str], str]:
        """Words for the second colour: those after the first colour, and those after the noun."""
        if entity.second_colour is None or entity.second_colour == entity.colour:
            return [], ""
        second = lexicon.COLOURS[entity.second_colour][0]
        if entity.pattern == "spotted":
            spots = self._pick_by_detail(lexicon.SPOTS)
            return [], " " + spots.format(colour=second)
        if entity.pattern in lexicon.PATTERNS:
            pattern = lexicon.PATTERNS[entity.pattern]
            return ["and", second, self._pick_by_detail(pattern)], ""
        return [], ""

    def _appearance_words(self, entity: EntityAnnotation) -> tuple[list[str], str]:
        """Words for the common material or pattern of a group of equal entities."""
        if entity.colour is None:
            adjectives = lexicon.MATERIALS[entity.material].substance
            return [self._pick_by_detail(adjectives)], ""
        return self._pattern_words(entity)

    def _short_description(self, ref: EntityRef) -> str:
        if isinstance(ref, str):
            return self.mentioned[ref].lstrip("*")
        entity = self.annotations.entities[ref]
        noun = self.mentioned[ref]
        same_shape = [e for e in self.named_entities() if e.shape == entity.shape and e.index != ref]
        if any(self._colour_and_shape(other) == self._colour_and_shape(entity) for other in same_shape):
            is_first = ref == min(e.index for e in [*same_shape, entity] if e.index in self.mentioned)
            is_alone = not any(other.index in self.mentioned for other in same_shape)
            return noun if is_first or is_alone else f"other {noun}"
        if not same_shape and (self.register in ("core", "terse", "casual") or self.rng.random() < 0.6):
            return noun
        return f"{self.colour_words.get(ref) or lexicon.MATERIALS[entity.material].substance[0]} {noun}"

    def _group_description(self, group: Group, *, bare: bool) -> str:
        if group.claim is not None:
            self.stated_claims.add(group.claim)
        shapes = {member.shape for member in group.members}
        shape = next(iter(shapes)) if len(shapes) == 1 else None
        colours = sorted({member.colour for member in group.members if member.colour}, key=str)
        core = self.detail == "core"
        words = [lexicon.number_word(group.number)]
        many_colours = self._pick_by_detail(lexicon.MANY_COLOURS)
        is_plain = shape in ("pin", "block")
        has_natural_colour = any(member.colour is None for member in group.members)
        tail = ""
        appearances = {(m.material, m.colour, m.pattern, m.second_colour) for m in group.members}
        if len(appearances) == 1 and not is_plain:
            # All members look the same: the words of one describe all of them.
            look, tail = self._appearance_words(group.members[0])
        else:
            look = []
        if not has_natural_colour and (not is_plain or (not core and self.rng.random() < 0.6)):
            if len(colours) == 1:
                words.append(lexicon.COLOURS[colours[0]][0])
            elif len(colours) == 2:
                words.append(f"{colours[0]} and {colours[1]}")
            elif colours and not core:
                words.append(many_colours)
        words += look
        noun = lexicon.SHAPES[shape][0] if shape else "object"
        if self.register == "casual" and shape:
            noun = pick(self.rng, lexicon.SHAPES[shape])
        nouns = lexicon.pluralize(noun) if group.number != 1 else noun
        heads = (
            lexicon.GROUP_HEADS.get(shape or "", ()) if group.name in ("tower", "dominoes", "domino") else ()
        )
        head = (heads[0] if core or self.register == "terse" else pick(self.rng, heads)) if heads else ""
        if head:
            self.mentioned[group.name] = head.split()[0] if shape != "domino" else "*" + nouns
            name = f"{head} {' '.join([*words, nouns])}{tail}"
            if shape == "domino":
                self.mentioned[group.name] = "*" + nouns
            return name if bare else lexicon.add_article(name)
        self.mentioned[group.name] = ("*" if group.number != 1 else "") + nouns.removeprefix("bowling ")
        return " ".join([*words, nouns]) + tail
