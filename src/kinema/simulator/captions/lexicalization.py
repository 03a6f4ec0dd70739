"""Choosing the words of one beat: its phrase, verb, objects, numbers, directions."""

from __future__ import annotations

import random
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
from kinema.simulator.captions.referring_expressions import EntityRef, ReferenceTracker, pick


@dataclass(kw_only=True)
class DiscourseState:
    """What has been said so far, as far as the next words depend on it."""

    references: ReferenceTracker
    rng: random.Random
    with_consequences: bool
    """Consequences too, and not the event alone."""
    stated_claims: set[int] = field(default_factory=set)
    _head: str = ""
    """The sentence so far: its subject, later its verbs too."""
    _last_mentioned: EntityRef | None = None
    """What was mentioned last, and is still at the end of the sentence: 'which' would mean it."""
    _object_antecedent: EntityRef | None = None
    """What 'it' means as an object."""

    @property
    def _terse(self) -> bool:
        return self.references.register == "terse"

    def _choose_template(self, message: Message) -> ClauseTemplate:
        phrase = self._template_for_message(message)
        if message.kind in ("left of", "right of", "count", "exists") and self._is_lying(message.subject):
            text = phrase.text.replace("[stand]", clause_templates.LIE_VERB).replace(
                "[sit]", clause_templates.LIE_VERB
            )
            return replace(phrase, text=text)
        return phrase

    def _is_lying(self, ref: EntityRef | None) -> bool:
        """Whether a thing, or every thing of a group, lies on its side."""
        if isinstance(ref, str):
            members = self.references.groups[ref].members
        else:
            members = () if ref is None else (self.references.annotations.entities[ref],)
        return bool(members) and all(member.shape in lexicon.LYING_SHAPES for member in members)

    def _template_for_message(self, message: Message) -> ClauseTemplate:
        register = self.references.register
        if message.kind == "chain stops":
            options = (
                clause_templates.CHAIN_STOPS
                if message.number is not None
                else clause_templates.CHAIN_STOPS_EARLY
            )
            return (
                options[0]
                if register in ("core", "terse") or message.number == 1
                else pick(self.rng, options)
            )
        if message.kind == "bounces" and message.value == "none":
            return (
                clause_templates.NO_BOUNCE[0]
                if register in ("core", "terse")
                else pick(self.rng, clause_templates.NO_BOUNCE)
            )
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
            return (
                clause_templates.FALLS_ONTO[0]
                if register in ("core", "terse")
                else pick(self.rng, clause_templates.FALLS_ONTO)
            )
        if message.kind == "stops" and message.object is not None:
            return (
                clause_templates.STOPS_ON[0]
                if register in ("core", "terse")
                else pick(self.rng, clause_templates.STOPS_ON)
            )
        words = clause_templates.CLAUSE_TEMPLATES[message.kind if message.kind != "exists" else "count"]
        if register == "terse":
            return words.terse or words.core
        if register == "core":
            return words.core
        return pick(self.rng, words.casual if register == "casual" else words.plain)

    def _choose_phrasing(self, phrasing: adverbials.Phrasing) -> str:
        register = self.references.register
        if register == "core":
            return phrasing.core
        if register == "terse":
            return phrasing.terse
        return pick(self.rng, phrasing.casual if register == "casual" else phrasing.plain)

    def _choose_verb(self, message: Message) -> tuple[str, str]:
        """The verb of a movement, and its adverb (empty where the verb says it)."""
        adverb = ""
        speaks = (
            bool(message.speed) and self.with_consequences and (not self._terse or self.rng.random() < 0.5)
        )
        if speaks and message.speed in adverbials.SPEEDS:
            adverb = self._choose_phrasing(adverbials.SPEEDS[message.speed])
            if message.speed_claim is not None:
                self.stated_claims.add(message.speed_claim)
        if isinstance(message.subject, int):
            how = classify_motion(self.references.annotations, message.subject)
        elif message.subject is not None:
            how = classify_group_motion(self.references.annotations, self.references.groups[message.subject])
        else:
            how = "move"
        verbs = adverbials.MOTION_VERBS[how]
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
        core = self.references.register in ("core", "terse")
        if message.number == 0:
            return words["none"][0]
        if message.number == message.group_size:
            return words["all"][0] if core else pick(self.rng, words["all"])
        if message.number == 1:
            return (words["one"][0]) if core else pick(self.rng, words["one"])
        return words["some"][0].format(number=lexicon.number_word(message.number))

    def _fill_template(self, text: str, message: Message) -> str:
        """Everything of a template but its verbs' endings."""
        fields: dict[str, str] = {}
        if "{verb" in text or "{adv}" in text:
            verb, adverb = self._choose_verb(message)
            if "{early}" in text:
                # 'slowly rolls', but not 'fast rolls'.
                text = text if adverb.endswith("ly") else "[{verb}] {adv} {dir}"
                fields["early"] = adverb
            fields["verb"], fields["verbing"] = verb, lexicon.present_participle(verb)
            fields["adv"] = adverb
        if "{adv}" in text and message.kind == "speed":
            fields["adv"] = (
                self._choose_phrasing(adverbials.SPEEDS[message.value])
                if message.value in adverbials.SPEEDS
                else ""
            )
        if "{dir}" in text:
            table = adverbials.PUSH_DIRECTIONS if message.kind == "pushed" else adverbials.DIRECTIONS
            fields["dir"] = self._choose_phrasing(table[message.value]) if message.value in table else ""
        if "{side}" in text:
            fields["side"] = (
                self._choose_phrasing(adverbials.SIDES[message.value])
                if message.value in adverbials.SIDES
                else "again"
            )
        fields["end"] = message.value
        if "{turn}" in text:
            fields["turn"] = (
                self._choose_phrasing(adverbials.TURNS[message.value])
                if message.value in adverbials.TURNS
                else ""
            )
        if "{height}" in text:
            fields["height"] = (
                self._choose_phrasing(adverbials.BOUNCES[message.value])
                if message.value in adverbials.BOUNCES
                else ""
            )
        if "{n}" in text:
            if message.kind == "chain stops" and message.number is not None and not text.startswith("only"):
                fields["n"] = lexicon.number_word(message.number)
            elif text.startswith("only"):
                fields["n"] = lexicon.number_word(message.number or 0)
            else:
                fields["n"] = self._number_expression(message)
        if "{ground}" in text:
            # Nobody says 'on the floor' of a meadow.
            inside = self.references.annotations.environment.floor.endswith(("floor", "carpet"))
            casual = self.references.register == "casual" and inside
            fields["ground"] = (
                pick(self.rng, adverbials.GROUND_PHRASES) if casual else adverbials.GROUND_PHRASES[0]
            )
        if message.object is not None:
            if "{o}" in text:
                fields["o"] = self._object_expression(message.object, subject=message.subject)
                fields["it"] = self.references.pronoun(message.object, is_object=True)
            elif "{it}" in text:
                # 'It pushes it' would be a riddle.
                near = self._object_antecedent == message.object and self._head not in ("it", "they")
                fields["it"] = (
                    self.references.pronoun(message.object, is_object=True)
                    if near
                    else self.references.mention(message.object, bare=self._terse)
                )
        else:
            fields["o"] = fields["it"] = "it"
        return normalize_spacing(text.format(**fields))
