"""Lexicalization: chooses the template, verb, objects, numbers and directions of one message."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from kinema.simulator.captions import adverbials, clause_templates, lexicon
from kinema.simulator.captions.clause_templates import ClauseTemplate
from kinema.simulator.captions.content_planning import (
    Message,
    classify_group_motion,
    classify_motion,
    is_flung,
)
from kinema.simulator.captions.grammar import normalize_spacing
from kinema.simulator.captions.referring_expressions import EntityRef, Item, ReferenceTracker, pick


@dataclass(kw_only=True)
class DiscourseState:
    """The part of the text so far that the next words depend on, and the choice of those words."""

    references: ReferenceTracker
    rng: random.Random
    with_consequences: bool
    """Whether consequences are stated as well as the event."""
    stated_claims: set[int] = field(default_factory=set)
    _head: str = ""
    """The start of the open sentence: its subject, later also its verbs."""
    _last_mentioned: EntityRef | None = None
    """The entity at the end of the sentence, to which 'which' would refer."""
    _object_antecedent: EntityRef | None = None
    """The entity to which 'it' refers as an object."""

    @property
    def _terse(self) -> bool:
        return self.references.register == "terse"

    def _pick_by_register(self, options: Sequence[Item]) -> Item:
        """The first option in the core and terse registers, else a random one."""
        return options[0] if self.references.register in ("core", "terse") else pick(self.rng, options)

    def _choose_template(self, message: Message) -> ClauseTemplate:
        template = self._template_for_message(message)
        if message.kind in ("left of", "right of", "count", "exists") and self._is_lying(message.subject):
            text = re.sub(r"\[(stand|sit)\]", clause_templates.LIE_VERB, template.text)
            return replace(template, text=text)
        return template

    def _is_lying(self, ref: EntityRef | None) -> bool:
        """Whether an entity, or every member of a group, lies on its side."""
        if isinstance(ref, str):
            members = self.references.groups[ref].members
        else:
            members = () if ref is None else (self.references.annotations.entities[ref],)
        return bool(members) and all(member.shape in lexicon.LYING_SHAPES for member in members)

    def _template_for_message(self, message: Message) -> ClauseTemplate:
        register = self.references.register
        if message.kind == "chain stops":
            if message.number is None:
                return self._pick_by_register(clause_templates.CHAIN_STOPS_EARLY)
            if message.number == 1:
                return clause_templates.CHAIN_STOPS[0]
            return self._pick_by_register(clause_templates.CHAIN_STOPS)
        if message.kind == "bounces" and message.value == "none":
            return self._pick_by_register(clause_templates.NO_BOUNCE)
        if (
            message.kind == "pushed"
            and register == "casual"
            and isinstance(message.object, int)
            and is_flung(self.references.annotations, message.object)
            and self.rng.random() < 0.6
        ):
            return pick(self.rng, clause_templates.THROWN_AWAY)
        if message.kind == "moves" and self.references.annotations.cause == "no wall":
            return clause_templates.KEEPS_MOVING
        if message.kind == "hits" and message.includes_fall:
            return self._pick_by_register(clause_templates.FALLS_ONTO)
        if message.kind == "stops" and message.object is not None:
            return self._pick_by_register(clause_templates.STOPS_ON)
        templates = clause_templates.CLAUSE_TEMPLATES[message.kind if message.kind != "exists" else "count"]
        if register == "terse":
            return templates.terse or templates.core
        if register == "core":
            return templates.core
        return pick(self.rng, templates.casual if register == "casual" else templates.plain)

    def _choose_phrasing(self, phrasing: adverbials.Phrasing) -> str:
        register = self.references.register
        if register == "core":
            return phrasing.core
        if register == "terse":
            return phrasing.terse
        return pick(self.rng, phrasing.casual if register == "casual" else phrasing.plain)

    def _choose_value_phrase(
        self, table: Mapping[str, adverbials.Phrasing], value: str, default: str = ""
    ) -> str:
        """A phrase for a claim's value; `default` where the table does not have the value."""
        return self._choose_phrasing(table[value]) if value in table else default

    def _choose_verb(self, message: Message) -> tuple[str, str]:
        """The verb of a motion and its adverb (empty if the verb implies the speed)."""
        adverb = ""
        states_speed = (
            bool(message.speed) and self.with_consequences and (not self._terse or self.rng.random() < 0.5)
        )
        if states_speed and message.speed in adverbials.SPEEDS:
            adverb = self._choose_phrasing(adverbials.SPEEDS[message.speed])
            if message.speed_claim is not None:
                self.stated_claims.add(message.speed_claim)
        if isinstance(message.subject, int):
            manner = classify_motion(self.references.annotations, message.subject)
        elif message.subject is not None:
            manner = classify_group_motion(
                self.references.annotations, self.references.groups[message.subject]
            )
        else:
            manner = "move"
        verbs = adverbials.MOTION_VERBS[manner]
        register = self.references.register
        if register in ("core", "terse"):
            return verbs.core, adverb
        if register == "casual" and adverb and self.rng.random() < 0.7:
            return pick(self.rng, verbs.quick if message.speed == "quickly" else verbs.slow), ""
        return pick(self.rng, verbs.casual if register == "casual" else verbs.plain), adverb

    def _object_expression(self, ref: EntityRef, *, subject: EntityRef | None) -> str:
        if (
            ref in self.references.mentioned
            and ref == self._object_antecedent
            and ref != subject
            and self._last_mentioned == ref
        ):
            return self.references.pronoun(ref, is_object=True)
        return self.references.mention(ref, bare=self._terse)

    def _number_expression(self, message: Message) -> str:
        assert message.number is not None
        words = adverbials.PARTITIVES
        if message.number == 0:
            return words["none"][0]
        if message.number == message.group_size:
            return self._pick_by_register(words["all"])
        if message.number == 1:
            return self._pick_by_register(words["one"])
        return words["some"][0].format(number=lexicon.number_word(message.number))

    def _fill_template(self, text: str, message: Message) -> str:
        """Fill every slot of a template; `[verb]` marks are inflected later."""
        fields: dict[str, str] = {}
        if "{verb" in text or "{adv}" in text:
            verb, adverb = self._choose_verb(message)
            if "{early}" in text:
                # 'slowly rolls' is idiomatic, 'fast rolls' is not.
                text = text if adverb.endswith("ly") else "[{verb}] {adv} {dir}"
                fields["early"] = adverb
            fields["verb"], fields["verbing"] = verb, lexicon.present_participle(verb)
            fields["adv"] = adverb
        if "{adv}" in text and message.kind == "speed":
            fields["adv"] = self._choose_value_phrase(adverbials.SPEEDS, message.value)
        if "{dir}" in text:
            table = adverbials.PUSH_DIRECTIONS if message.kind == "pushed" else adverbials.DIRECTIONS
            fields["dir"] = self._choose_value_phrase(table, message.value)
        if "{side}" in text:
            fields["side"] = self._choose_value_phrase(adverbials.SIDES, message.value, "again")
        fields["end"] = message.value
        if "{turn}" in text:
            fields["turn"] = self._choose_value_phrase(adverbials.TURNS, message.value)
        if "{height}" in text:
            fields["height"] = self._choose_value_phrase(adverbials.BOUNCES, message.value)
        if "{n}" in text:
            if message.kind == "chain stops" and message.number is not None and not text.startswith("only"):
                fields["n"] = lexicon.number_word(message.number)
            elif text.startswith("only"):
                fields["n"] = lexicon.number_word(message.number or 0)
            else:
                fields["n"] = self._number_expression(message)
        if "{ground}" in text:
            # 'On the floor' fits indoor floors only.
            is_indoors = self.references.annotations.environment.floor.endswith(("floor", "carpet"))
            casual = self.references.register == "casual" and is_indoors
            fields["ground"] = (
                pick(self.rng, adverbials.GROUND_PHRASES) if casual else adverbials.GROUND_PHRASES[0]
            )
        if message.object is not None:
            if "{o}" in text:
                fields["o"] = self._object_expression(message.object, subject=message.subject)
                fields["it"] = self.references.pronoun(message.object, is_object=True)
            elif "{it}" in text:
                # 'It pushes it' would be ambiguous.
                is_clear = self._object_antecedent == message.object and self._head not in ("it", "they")
                fields["it"] = (
                    self.references.pronoun(message.object, is_object=True)
                    if is_clear
                    else self.references.mention(message.object, bare=self._terse)
                )
        else:
            fields["o"] = fields["it"] = "it"
        return normalize_spacing(text.format(**fields))
