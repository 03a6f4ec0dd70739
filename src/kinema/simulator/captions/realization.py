"""From beats to sentences: agreement, pronouns, 'and', 'but', 'then', 'which', 'until'."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from kinema.simulator.captions import adverbials, clause_templates, lexicon
from kinema.simulator.captions.clause_templates import ClauseTemplate
from kinema.simulator.captions.content_planning import Message, gap_stops_chain
from kinema.simulator.captions.grammar import SUBJECT_PRONOUN, VerbForm, inflect, join_list, normalize_spacing
from kinema.simulator.captions.lexicalization import DiscourseState
from kinema.simulator.captions.referring_expressions import EntityRef, Group, pick


@dataclass(frozen=True, kw_only=True)
class RealizedText:
    """Sentences without their capitals and full stops, and the claims they state."""

    sentences: tuple[str, ...]
    claims: frozenset[int]


@dataclass(kw_only=True)
class Realizer(DiscourseState):
    """Writes one caption; lives as long as that takes."""

    max_messages_per_sentence: int
    """Beats to a sentence at most."""
    form: VerbForm = "finite"
    """Form of the first sentence."""
    sentences: list[str] = field(default_factory=list)
    _parts: list[str] = field(default_factory=list)
    _tail: str = ""
    _subject: EntityRef | None = None
    _plural: bool = False
    _message_count: int = 0
    _subject_changed: bool = False
    """Whether the sentence has gone over to another subject."""
    _relative_antecedent: EntityRef | None = None
    """What a relative clause at the end of the sentence is about."""
    _last_hit_object: EntityRef | None = None
    _last_hit_subject: EntityRef | None = None
    _last_was_hit: bool = False
    """Whether the last meeting was a hit: 'but the tower stands' says that one might think otherwise."""

    def realize(self, messages: Sequence[Message]) -> RealizedText:
        """All beats, in order."""
        kept = [beat for beat in messages if self.with_consequences or not beat.is_consequence]
        for beat in kept or messages:
            self._realize_message(beat)
        self._close_sentence()
        return RealizedText(
            sentences=tuple(self.sentences),
            claims=frozenset(self.stated_claims | self.references.stated_claims),
        )

    # Tying clauses together -------------------------------------------------------------------

    def _realize_message(self, message: Message) -> None:
        names = self.references
        if message.left_to_right:
            self._close_sentence()
            self._realize_arrangement(message)
            return
        phrase = self._choose_template(message)
        if phrase is clause_templates.KEEPS_MOVING and self.form == "gerund" and not self.sentences:
            phrase = clause_templates.CONTINUES
        join = phrase.join
        own_sentence = self._message_count >= self.max_messages_per_sentence
        subject = message.subject
        if message.kind == "fallen":
            phrase, subject = self._choose_fallen_template(message)
            join = phrase.join
        elif message.kind == "pushed" and message.object is None:
            phrase = ClauseTemplate("[move] {dir}")
            join = "and"
        elif message.kind == "chain stops":
            self._ensure_sentence(message)
            ending = self._fill_template(phrase.text, message)
            group = names.groups.get(str(message.subject))
            if group is not None and names.register != "terse" and gap_stops_chain(names.annotations, group):
                reasons = adverbials.CAUSE_CLAUSES["gap"]
                ending += " " + (reasons[0] if names.register == "core" else pick(self.rng, reasons))
            self._flush_verbs()
            self._tail += f", but {ending}"
            self.stated_claims.update(message.claims)
            self._message_count += 1
            return
        elif message.kind == "tips over" and self._can_say_knocked_over(subject):
            phrase = pick(self.rng, clause_templates.KNOCKED_OVER)
            join = "ing"
            message = Message(kind="tips over", subject=self._subject, object=subject, claims=message.claims)
            subject = self._subject
        text = f"then {phrase.text}" if message.follows_previous and join != "ing" else phrase.text
        self.stated_claims.update(message.claims)
        deed = join == "ing" or message.kind == "pushed"
        if (
            self._head
            and self._relative_antecedent is not None
            and subject == self._relative_antecedent
            and deed
        ):
            self._tail += f", {self._clause(text, message, plural=False, form='gerund')}"
        elif self._head and not own_sentence and subject == self._subject and not self._needs_new_sentence():
            self._append_same_subject(text, join, message)
        elif (
            self._head
            and subject is not None
            and subject == self._last_mentioned
            and not self._terse
            and self._message_count < self.max_messages_per_sentence + 1
            and not isinstance(subject, str)
        ):
            clause = self._clause(text, message, plural=False, form="finite")
            self._flush_verbs()
            self._tail += f", which {clause}"
            self._relative_antecedent = subject
            self._subject_changed = True
        elif self._head and not own_sentence and (self._terse or self.max_messages_per_sentence > 2):
            before = subject
            noun = names.mention(before, bare=self._terse) if before is not None else "it"
            if message.kind == "fallen":
                noun = self._fallen_subject(message)
            plural = self._is_plural(before, noun)
            if message.kind == "fallen" and " of " in noun:
                plural = not re.match(r"(just|only|none|every|the)\b", noun)
            clause = self._clause(text, message, plural=plural, form="finite")
            self._flush_verbs()
            against = join == "but" or (message.kind == "fallen" and message.number == 0)
            tie = ", " if self._terse else ", but " if against and self._last_was_hit else ", and "
            self._tail += f"{tie}{noun} {clause}"
            self._subject_changed, self._relative_antecedent = True, before
            self._last_mentioned = None
            if self._terse:
                self._subject = before
        else:
            self._close_sentence()
            self._start_sentence(text, message, subject)
        self._message_count += 1
        if message.kind in ("hits", "misses", "short of"):
            self._last_hit_object, self._last_hit_subject = message.object, message.subject
            self._last_was_hit = message.kind == "hits"

    def _needs_new_sentence(self) -> bool:
        """After a clause about something else a bare 'and stops' would be said of the wrong thing."""
        return self._subject_changed and not self._terse and self.max_messages_per_sentence < 9

    def _can_say_knocked_over(self, subject: EntityRef | None) -> bool:
        """Whether tipping over can be told as the deed of what has just hit the thing."""
        just_hit = (
            subject == self._last_hit_object == self._last_mentioned
            and self._last_hit_subject == self._subject
        )
        return just_hit and self.references.register in ("plain", "casual") and self.rng.random() < 0.6

    def _choose_fallen_template(self, message: Message) -> tuple[ClauseTemplate, EntityRef | None]:
        """'fallen' as the deed of what hit the group, or as what becomes of the group."""
        tower = message.number == message.group_size and any(
            m.shape in ("block", "cube") for m in self.references.groups[str(message.subject)].members
        )
        core = self.references.register in ("core", "terse")
        if tower:
            return (
                clause_templates.TOWER_FALLS[0] if core else pick(self.rng, clause_templates.TOWER_FALLS)
            ), message.subject
        if (
            self._last_hit_object == message.subject
            and self._last_hit_subject == self._subject
            and self._last_mentioned == message.subject
        ):
            if message.number == 0:
                return (
                    clause_templates.FALLEN_NONE[0] if core else pick(self.rng, clause_templates.FALLEN_NONE)
                ), self._subject
            words = clause_templates.CLAUSE_TEMPLATES["fallen"]
            options = words.casual if self.references.register == "casual" else words.plain
            return (words.core if core else pick(self.rng, options)), self._subject
        return (
            clause_templates.FALLEN_ALONE[0] if core else pick(self.rng, clause_templates.FALLEN_ALONE)
        ), message.subject

    def _fallen_subject(self, message: Message) -> str:
        group = self.references.groups[str(message.subject)]
        if message.number == message.group_size:
            return self.references.mention(group.name, bare=self._terse)
        return self._number_expression(message).replace("of them", "of the " + self._member_noun(group))

    def _member_noun(self, group: Group) -> str:
        shapes = {member.shape for member in group.members}
        return lexicon.pluralize(lexicon.SHAPES[next(iter(shapes))][0]) if len(shapes) == 1 else "objects"

    def _is_plural(self, ref: EntityRef | None, noun: str) -> bool:
        return ref is not None and self.references.is_plural(ref) and " of " not in noun

    def _clause(self, text: str, message: Message, *, plural: bool, form: VerbForm = "finite") -> str:
        filled = self._fill_template(text, message)
        pronoun = "they " if plural else "it "
        filled = SUBJECT_PRONOUN.sub(pronoun, filled)
        if message.object is not None:
            self._last_mentioned = message.object if text.endswith("{o}") else None
            self._object_antecedent = message.object
        short = self.references.register == "casual"
        return inflect(filled, plural=plural, form=form, contractions=short)

    def _realize_arrangement(self, message: Message) -> None:
        """Things that just stand there, or side by side, named from left to right."""
        plain = self._terse or self.references.register == "core"
        order = message.left_to_right if plain or self.rng.random() < 0.7 else ()
        row = message.kind != "middle"
        words = {"in a row": adverbials.ROW_TEMPLATES, "middle": adverbials.TRIPLE_TEMPLATES}.get(
            message.kind, adverbials.EXISTENCE_TEMPLATES
        )
        bare = self._terse
        if order or row:
            things = [self.references.mention(ref, bare=bare) for ref in message.left_to_right]
            forms = words if self.references.register not in ("core", "terse") else words[:1]
            text = pick(self.rng, forms)
            if row:
                said = text.format(
                    things=", ".join(things) if bare else join_list(things),
                    ground=adverbials.GROUND_PHRASES[0],
                )
            else:
                said = text.format(left=things[0], middle=things[1], right=things[2])
            claims = message.claims
        else:
            middle, left, right = (self.references.mention(message.left_to_right[k]) for k in (1, 0, 2))
            said = adverbials.BETWEEN_TEMPLATE.format(left=left, middle=middle, right=right)
            claims = message.claims
        if bare:
            said = said.replace(" is on", " on")
        self.stated_claims.update(claims)
        gerund = self.form == "gerund" and not self.sentences
        self.sentences.append(
            normalize_spacing(
                inflect(
                    said, plural=row and len(message.left_to_right) > 1, form="gerund" if gerund else "finite"
                )
            )
        )

    def _ensure_sentence(self, message: Message) -> None:
        """A sentence is needed; if there is none, the group begins one by standing there."""
        if not self._head:
            self._start_sentence("[stand] in a row", message, message.subject)

    def _start_sentence(self, text: str, message: Message, subject: EntityRef | None) -> None:
        names = self.references
        form: VerbForm = self.form if not self.sentences else "finite"
        if subject is None:
            noun, plural = "the scene", False
        elif subject == self._subject and self.sentences and not self._terse and self._last_was_plain:
            noun, plural = names.pronoun(subject), names.is_plural(subject)
        else:
            noun = names.mention(subject, bare=self._terse)
            if message.kind == "fallen":
                noun = self._fallen_subject(message)
            plural = self._is_plural(subject, noun)
            if message.kind == "fallen" and " of " in noun:
                plural = not re.match(r"(just|only|none|every|the)\b", noun)
        self._plural = plural
        self._subject = subject
        self._last_mentioned = None
        self._head = noun
        if text.startswith("it "):
            text = text.partition(" ")[2]
        self._parts = [self._clause(text, message, plural=plural, form=form)]
        self._tail = ""
        self._message_count = 0

    _last_was_plain: bool = True

    def _append_same_subject(self, text: str, join: str, message: Message) -> None:
        form: VerbForm = self.form if not self.sentences else "finite"
        if self._terse:
            join = "and" if join in ("until", "then", "ing") else join
            if text.startswith("it "):
                text = text.partition(" ")[2]
        elif self._subject_changed and self._subject is not None:
            noun = self.references.mention(self._subject)
            self._tail += f", and {noun} {self._clause(text, message, plural=self._plural)}"
            return
        if join == "ing":
            clause = self._clause(text, message, plural=self._plural, form="gerund")
            self._flush_verbs()
            self._tail += f", {clause}"
        elif join == "until":
            clause = self._clause(text, message, plural=self._plural, form="finite")
            self._flush_verbs()
            self._tail += f" until {clause}" if not self._tail else f", until {clause}"
        elif join == "but":
            clause = self._clause(text, message, plural=self._plural, form=form)
            self._flush_verbs()
            self._tail += (
                f" but {clause}" if not self._tail and len(clause.split()) < 4 else f", but {clause}"
            )
        elif join == "then":
            clause = self._clause(text, message, plural=self._plural, form=form)
            self._flush_verbs()
            self._tail += f", then {clause}" if self.rng.random() < 0.5 else f" and then {clause}"
        elif self._tail:
            clause = self._clause(text, message, plural=self._plural, form=form)
            self._tail += f", {clause}" if self._terse else f", and {clause}"
        else:
            self._parts.append(self._clause(text, message, plural=self._plural, form=form))

    def _flush_verbs(self) -> None:
        """The coordinated verbs so far become the head; what follows is a tail."""
        if self._parts:
            joined = ", ".join(self._parts) if self._terse else join_list(self._parts)
            self._head = f"{self._head} {joined}"
            self._parts = []

    def _close_sentence(self) -> None:
        if not self._head:
            return
        self._flush_verbs()
        text = normalize_spacing(self._head + self._tail)
        self._last_was_plain = (
            ", which " not in text and ", and the " not in text and ", but the " not in text
        )
        self.sentences.append(text)
        self._head, self._parts, self._tail = "", [], ""
        self._relative_antecedent, self._object_antecedent, self._subject_changed, self._message_count = (
            None,
            None,
            False,
            0,
        )
