"""From beats to sentences: agreement, pronouns, 'and', 'but', 'then', 'which', 'until'."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from kinema.world.captions import lexicon, manners, phrases
from kinema.world.captions.grammar import OWN_PRONOUN, Form, inflect, series, tidy
from kinema.world.captions.nouns import Group, Ref, pick
from kinema.world.captions.phrases import Phrase
from kinema.world.captions.plan import Beat, gap_stops_chain
from kinema.world.captions.wording import Speaker


@dataclass(frozen=True, kw_only=True)
class Told:
    """Sentences without their capitals and full stops, and the claims they state."""

    sentences: tuple[str, ...]
    claims: frozenset[int]


@dataclass(kw_only=True)
class Teller(Speaker):
    """Writes one caption; lives as long as that takes."""

    longest: int
    """Beats to a sentence at most."""
    form: Form = "finite"
    """Form of the first sentence."""
    sentences: list[str] = field(default_factory=list)
    _parts: list[str] = field(default_factory=list)
    _tail: str = ""
    _subject: Ref | None = None
    _plural: bool = False
    _beats: int = 0
    _strayed: bool = False
    """Whether the sentence has gone over to another subject."""
    _which: Ref | None = None
    """What a relative clause at the end of the sentence is about."""
    _struck: Ref | None = None
    _struck_by: Ref | None = None
    _hit: bool = False
    """Whether the last meeting was a hit: 'but the tower stands' says that one might think otherwise."""

    def tell(self, beats: Sequence[Beat]) -> Told:
        """All beats, in order."""
        kept = [beat for beat in beats if self.whole or not beat.minor]
        for beat in kept or beats:
            self._beat(beat)
        self._close()
        return Told(sentences=tuple(self.sentences), claims=frozenset(self.told | self.names.told))

    # Tying clauses together -------------------------------------------------------------------

    def _beat(self, beat: Beat) -> None:
        names = self.names
        if beat.order:
            self._close()
            self._arrange(beat)
            return
        phrase = self._phrase(beat)
        if phrase is phrases.KEEPS_MOVING and self.form == "gerund" and not self.sentences:
            phrase = phrases.CONTINUES
        join = phrase.join
        own_sentence = self._beats >= self.longest
        subject = beat.subject
        if beat.kind == "fallen":
            phrase, subject = self._fallen(beat)
            join = phrase.join
        elif beat.kind == "pushed" and beat.object is None:
            phrase = Phrase("[move] {dir}")
            join = "and"
        elif beat.kind == "chain stops":
            self._open(beat)
            ending = self._fill(phrase.text, beat)
            group = names.groups.get(str(beat.subject))
            if group is not None and names.register != "terse" and gap_stops_chain(names.facts, group):
                reasons = manners.BECAUSE["gap"]
                ending += " " + (reasons[0] if names.register == "core" else pick(self.dice, reasons))
            self._flush()
            self._tail += f", but {ending}"
            self.told.update(beat.claims)
            self._beats += 1
            return
        elif beat.kind == "tips over" and self._may_knock_over(subject):
            phrase = pick(self.dice, phrases.KNOCKED_OVER)
            join = "ing"
            beat = Beat(kind="tips over", subject=self._subject, object=subject, claims=beat.claims)
            subject = self._subject
        text = f"then {phrase.text}" if beat.then and join != "ing" else phrase.text
        self.told.update(beat.claims)
        deed = join == "ing" or beat.kind == "pushed"
        if self._head and self._which is not None and subject == self._which and deed:
            self._tail += f", {self._clause(text, beat, plural=False, form='gerund')}"
        elif self._head and not own_sentence and subject == self._subject and not self._must_restart():
            self._same_subject(text, join, beat)
        elif (
            self._head
            and subject is not None
            and subject == self._nearest
            and not self._terse
            and self._beats < self.longest + 1
            and not isinstance(subject, str)
        ):
            clause = self._clause(text, beat, plural=False, form="finite")
            self._flush()
            self._tail += f", which {clause}"
            self._which = subject
            self._strayed = True
        elif self._head and not own_sentence and (self._terse or self.longest > 2):
            before = subject
            noun = names.mention(before, bare=self._terse) if before is not None else "it"
            if beat.kind == "fallen":
                noun = self._fallen_subject(beat)
            plural = self._agrees(before, noun)
            if beat.kind == "fallen" and " of " in noun:
                plural = not re.match(r"(just|only|none|every|the)\b", noun)
            clause = self._clause(text, beat, plural=plural, form="finite")
            self._flush()
            against = join == "but" or (beat.kind == "fallen" and beat.number == 0)
            tie = ", " if self._terse else ", but " if against and self._hit else ", and "
            self._tail += f"{tie}{noun} {clause}"
            self._strayed, self._which = True, before
            self._nearest = None
            if self._terse:
                self._subject = before
        else:
            self._close()
            self._start(text, beat, subject)
        self._beats += 1
        if beat.kind in ("hits", "misses", "short of"):
            self._struck, self._struck_by = beat.object, beat.subject
            self._hit = beat.kind == "hits"

    def _must_restart(self) -> bool:
        """After a clause about something else a bare 'and stops' would be said of the wrong thing."""
        return self._strayed and not self._terse and self.longest < 9

    def _may_knock_over(self, subject: Ref | None) -> bool:
        """Whether tipping over can be told as the deed of what has just hit the thing."""
        just_hit = subject == self._struck == self._nearest and self._struck_by == self._subject
        return just_hit and self.names.register in ("plain", "casual") and self.dice.random() < 0.6

    def _fallen(self, beat: Beat) -> tuple[Phrase, Ref | None]:
        """'fallen' as the deed of what hit the group, or as what becomes of the group."""
        tower = beat.number == beat.of and any(
            m.shape in ("block", "cube") for m in self.names.groups[str(beat.subject)].members
        )
        core = self.names.register in ("core", "terse")
        if tower:
            return (phrases.TOWER_FALLS[0] if core else pick(self.dice, phrases.TOWER_FALLS)), beat.subject
        if (
            self._struck == beat.subject
            and self._struck_by == self._subject
            and self._nearest == beat.subject
        ):
            if beat.number == 0:
                return (
                    phrases.FALLEN_NONE[0] if core else pick(self.dice, phrases.FALLEN_NONE)
                ), self._subject
            words = phrases.WORDINGS["fallen"]
            options = words.casual if self.names.register == "casual" else words.plain
            return (words.core if core else pick(self.dice, options)), self._subject
        return (phrases.FALLEN_ALONE[0] if core else pick(self.dice, phrases.FALLEN_ALONE)), beat.subject

    def _fallen_subject(self, beat: Beat) -> str:
        group = self.names.groups[str(beat.subject)]
        if beat.number == beat.of:
            return self.names.mention(group.name, bare=self._terse)
        return self._number(beat).replace("of them", "of the " + self._members(group))

    def _members(self, group: Group) -> str:
        shapes = {member.shape for member in group.members}
        return lexicon.plural(lexicon.SHAPES[next(iter(shapes))][0]) if len(shapes) == 1 else "objects"

    def _agrees(self, ref: Ref | None, noun: str) -> bool:
        return ref is not None and self.names.is_plural(ref) and " of " not in noun

    def _clause(self, text: str, beat: Beat, *, plural: bool, form: Form = "finite") -> str:
        filled = self._fill(text, beat)
        pronoun = "they " if plural else "it "
        filled = OWN_PRONOUN.sub(pronoun, filled)
        if beat.object is not None:
            self._nearest = beat.object if text.endswith("{o}") else None
            self._salient = beat.object
        short = self.names.register == "casual"
        return inflect(filled, plural=plural, form=form, short=short)

    def _arrange(self, beat: Beat) -> None:
        """Things that just stand there, or side by side, named from left to right."""
        plain = self._terse or self.names.register == "core"
        order = beat.order if plain or self.dice.random() < 0.7 else ()
        row = beat.kind != "middle"
        words = {"in a row": manners.ROWS, "middle": manners.THREES}.get(beat.kind, manners.THERE)
        bare = self._terse
        if order or row:
            things = [self.names.mention(ref, bare=bare) for ref in beat.order]
            forms = words if self.names.register not in ("core", "terse") else words[:1]
            text = pick(self.dice, forms)
            if row:
                said = text.format(
                    things=", ".join(things) if bare else series(things), ground=manners.GROUND[0]
                )
            else:
                said = text.format(left=things[0], middle=things[1], right=things[2])
            claims = beat.claims
        else:
            middle, left, right = (self.names.mention(beat.order[k]) for k in (1, 0, 2))
            said = manners.BETWEEN.format(left=left, middle=middle, right=right)
            claims = beat.claims
        if bare:
            said = said.replace(" is on", " on")
        self.told.update(claims)
        gerund = self.form == "gerund" and not self.sentences
        self.sentences.append(
            tidy(inflect(said, plural=row and len(beat.order) > 1, form="gerund" if gerund else "finite"))
        )

    def _open(self, beat: Beat) -> None:
        """A sentence is needed; if there is none, the group begins one by standing there."""
        if not self._head:
            self._start("[stand] in a row", beat, beat.subject)

    def _start(self, text: str, beat: Beat, subject: Ref | None) -> None:
        names = self.names
        form: Form = self.form if not self.sentences else "finite"
        if subject is None:
            noun, plural = "the scene", False
        elif subject == self._subject and self.sentences and not self._terse and self._last_was_plain:
            noun, plural = names.pronoun(subject), names.is_plural(subject)
        else:
            noun = names.mention(subject, bare=self._terse)
            if beat.kind == "fallen":
                noun = self._fallen_subject(beat)
            plural = self._agrees(subject, noun)
            if beat.kind == "fallen" and " of " in noun:
                plural = not re.match(r"(just|only|none|every|the)\b", noun)
        self._plural = plural
        self._subject = subject
        self._nearest = None
        self._head = noun
        if text.startswith("it "):
            text = text.partition(" ")[2]
        self._parts = [self._clause(text, beat, plural=plural, form=form)]
        self._tail = ""
        self._beats = 0

    _last_was_plain: bool = True

    def _same_subject(self, text: str, join: str, beat: Beat) -> None:
        form: Form = self.form if not self.sentences else "finite"
        if self._terse:
            join = "and" if join in ("until", "then", "ing") else join
            if text.startswith("it "):
                text = text.partition(" ")[2]
        elif self._strayed and self._subject is not None:
            noun = self.names.mention(self._subject)
            self._tail += f", and {noun} {self._clause(text, beat, plural=self._plural)}"
            return
        if join == "ing":
            clause = self._clause(text, beat, plural=self._plural, form="gerund")
            self._flush()
            self._tail += f", {clause}"
        elif join == "until":
            clause = self._clause(text, beat, plural=self._plural, form="finite")
            self._flush()
            self._tail += f" until {clause}" if not self._tail else f", until {clause}"
        elif join == "but":
            clause = self._clause(text, beat, plural=self._plural, form=form)
            self._flush()
            self._tail += (
                f" but {clause}" if not self._tail and len(clause.split()) < 4 else f", but {clause}"
            )
        elif join == "then":
            clause = self._clause(text, beat, plural=self._plural, form=form)
            self._flush()
            self._tail += f", then {clause}" if self.dice.random() < 0.5 else f" and then {clause}"
        elif self._tail:
            clause = self._clause(text, beat, plural=self._plural, form=form)
            self._tail += f", {clause}" if self._terse else f", and {clause}"
        else:
            self._parts.append(self._clause(text, beat, plural=self._plural, form=form))

    def _flush(self) -> None:
        """The coordinated verbs so far become the head; what follows is a tail."""
        if self._parts:
            joined = ", ".join(self._parts) if self._terse else series(self._parts)
            self._head = f"{self._head} {joined}"
            self._parts = []

    def _close(self) -> None:
        if not self._head:
            return
        self._flush()
        text = tidy(self._head + self._tail)
        self._last_was_plain = (
            ", which " not in text and ", and the " not in text and ", but the " not in text
        )
        self.sentences.append(text)
        self._head, self._parts, self._tail = "", [], ""
        self._which, self._salient, self._strayed, self._beats = None, None, False, 0
