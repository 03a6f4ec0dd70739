"""Choosing the words of one beat: its phrase, verb, objects, numbers, directions."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

from kinema.world.captions import lexicon, manners, phrases
from kinema.world.captions.grammar import tidy
from kinema.world.captions.nouns import Names, Ref, pick
from kinema.world.captions.phrases import Phrase
from kinema.world.captions.plan import Beat, flung, group_manner, manner


@dataclass(kw_only=True)
class Speaker:
    """What has been said so far, as far as the next words depend on it."""

    names: Names
    dice: random.Random
    whole: bool
    """Consequences too, and not the event alone."""
    told: set[int] = field(default_factory=set)
    _head: str = ""
    """The sentence so far: its subject, later its verbs too."""
    _nearest: Ref | None = None
    """What was mentioned last, and is still at the end of the sentence: 'which' would mean it."""
    _salient: Ref | None = None
    """What 'it' means as an object."""

    @property
    def _terse(self) -> bool:
        return self.names.register == "terse"

    def _phrase(self, beat: Beat) -> Phrase:
        phrase = self._worded(beat)
        if beat.kind in ("left of", "right of", "count", "exists") and self._lies(beat.subject):
            text = phrase.text.replace("[stand]", phrases.LIES).replace("[sit]", phrases.LIES)
            return replace(phrase, text=text)
        return phrase

    def _lies(self, ref: Ref | None) -> bool:
        """Whether a thing, or every thing of a group, lies on its side."""
        if isinstance(ref, str):
            members = self.names.groups[ref].members
        else:
            members = () if ref is None else (self.names.facts.entities[ref],)
        return bool(members) and all(member.shape in lexicon.LYING for member in members)

    def _worded(self, beat: Beat) -> Phrase:
        register = self.names.register
        if beat.kind == "chain stops":
            options = phrases.CHAIN_STOPS if beat.number is not None else phrases.CHAIN_STOPS_EARLY
            return (
                options[0] if register in ("core", "terse") or beat.number == 1 else pick(self.dice, options)
            )
        if beat.kind == "bounces" and beat.value == "none":
            return (
                phrases.NO_BOUNCE[0] if register in ("core", "terse") else pick(self.dice, phrases.NO_BOUNCE)
            )
        if (
            beat.kind == "pushed"
            and register == "casual"
            and isinstance(beat.object, int)
            and flung(self.names.facts, beat.object)
            and self.dice.random() < 0.6
        ):
            return pick(self.dice, phrases.THROWN_AWAY)
        if beat.kind == "moves" and self.names.facts.cause == "no wall":
            return phrases.KEEPS_MOVING
        if beat.kind == "hits" and beat.falls:
            return (
                phrases.FALLS_ONTO[0]
                if register in ("core", "terse")
                else pick(self.dice, phrases.FALLS_ONTO)
            )
        if beat.kind == "stops" and beat.object is not None:
            return phrases.STOPS_ON[0] if register in ("core", "terse") else pick(self.dice, phrases.STOPS_ON)
        words = phrases.WORDINGS[beat.kind if beat.kind != "exists" else "count"]
        if register == "terse":
            return words.terse or words.core
        if register == "core":
            return words.core
        return pick(self.dice, words.casual if register == "casual" else words.plain)

    def _words(self, words: manners.Words) -> str:
        register = self.names.register
        if register == "core":
            return words.core
        if register == "terse":
            return words.terse
        return pick(self.dice, words.casual if register == "casual" else words.plain)

    def _verb(self, beat: Beat) -> tuple[str, str]:
        """The verb of a movement, and its adverb (empty where the verb says it)."""
        adverb = ""
        speaks = bool(beat.speed) and self.whole and (not self._terse or self.dice.random() < 0.5)
        if speaks and beat.speed in manners.SPEEDS:
            adverb = self._words(manners.SPEEDS[beat.speed])
            if beat.speed_claim is not None:
                self.told.add(beat.speed_claim)
        if isinstance(beat.subject, int):
            how = manner(self.names.facts, beat.subject)
        elif beat.subject is not None:
            how = group_manner(self.names.facts, self.names.groups[beat.subject])
        else:
            how = "move"
        verbs = manners.MANNERS[how]
        register = self.names.register
        if register in ("core", "terse"):
            return verbs.core, adverb
        if register == "casual" and adverb and self.dice.random() < 0.7:
            return pick(self.dice, verbs.quick if beat.speed == "quickly" else verbs.slow), ""
        return pick(self.dice, verbs.casual if register == "casual" else verbs.plain), adverb

    def _object(self, ref: Ref, *, subject: Ref | None) -> str:
        if ref in self.names.met and ref == self._salient and ref != subject and self._nearest == ref:
            return self.names.pronoun(ref, is_object=True)
        return self.names.mention(ref, bare=self._terse)

    def _number(self, beat: Beat) -> str:
        assert beat.number is not None
        words = manners.NUMBER_OF_THEM
        core = self.names.register in ("core", "terse")
        if beat.number == 0:
            return words["none"][0]
        if beat.number == beat.of:
            return words["all"][0] if core else pick(self.dice, words["all"])
        if beat.number == 1:
            return (words["one"][0]) if core else pick(self.dice, words["one"])
        return words["some"][0].format(number=lexicon.number_word(beat.number))

    def _fill(self, text: str, beat: Beat) -> str:
        """Everything of a template but its verbs' endings."""
        fields: dict[str, str] = {}
        if "{verb" in text or "{adv}" in text:
            verb, adverb = self._verb(beat)
            if "{early}" in text:
                # 'slowly rolls', but not 'fast rolls'.
                text = text if adverb.endswith("ly") else "[{verb}] {adv} {dir}"
                fields["early"] = adverb
            fields["verb"], fields["verbing"] = verb, lexicon.present_participle(verb)
            fields["adv"] = adverb
        if "{adv}" in text and beat.kind == "speed":
            fields["adv"] = self._words(manners.SPEEDS[beat.value]) if beat.value in manners.SPEEDS else ""
        if "{dir}" in text:
            table = manners.PUSH_DIRECTIONS if beat.kind == "pushed" else manners.DIRECTIONS
            fields["dir"] = self._words(table[beat.value]) if beat.value in table else ""
        if "{side}" in text:
            fields["side"] = (
                self._words(manners.SIDES[beat.value]) if beat.value in manners.SIDES else "again"
            )
        fields["end"] = beat.value
        if "{turn}" in text:
            fields["turn"] = self._words(manners.TURNS[beat.value]) if beat.value in manners.TURNS else ""
        if "{height}" in text:
            fields["height"] = (
                self._words(manners.BOUNCES[beat.value]) if beat.value in manners.BOUNCES else ""
            )
        if "{n}" in text:
            if beat.kind == "chain stops" and beat.number is not None and not text.startswith("only"):
                fields["n"] = lexicon.number_word(beat.number)
            elif text.startswith("only"):
                fields["n"] = lexicon.number_word(beat.number or 0)
            else:
                fields["n"] = self._number(beat)
        if "{ground}" in text:
            # Nobody says 'on the floor' of a meadow.
            inside = self.names.facts.setting.floor.endswith(("floor", "carpet"))
            casual = self.names.register == "casual" and inside
            fields["ground"] = pick(self.dice, manners.GROUND) if casual else manners.GROUND[0]
        if beat.object is not None:
            if "{o}" in text:
                fields["o"] = self._object(beat.object, subject=beat.subject)
                fields["it"] = self.names.pronoun(beat.object, is_object=True)
            elif "{it}" in text:
                # 'It pushes it' would be a riddle.
                near = self._salient == beat.object and self._head not in ("it", "they")
                fields["it"] = (
                    self.names.pronoun(beat.object, is_object=True)
                    if near
                    else self.names.mention(beat.object, bare=self._terse)
                )
        else:
            fields["o"] = fields["it"] = "it"
        return tidy(text.format(**fields))
