"""Surface realization: from messages to sentences with agreement, pronouns and connectives."""

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
    """Sentences without capitals and full stops, and the indices of the claims they state."""

    sentences: tuple[str, ...]
    claims: frozenset[int]


@dataclass(kw_only=True)
class Realizer(DiscourseState):
    """Writes the sentences of one caption. One instance writes one caption."""

    max_messages_per_sentence: int
    """Maximum number of messages per sentence."""
    form: VerbForm = "finite"
    """Verb form of the first sentence."""
    sentences: list[str] = field(default_factory=list)
    _parts: list[str] = field(default_factory=list)
    _tail: str = ""
    _subject: EntityRef | None = None
    _plural: bool = False
    _message_count: int = 0
    _subject_changed: bool = False
    """Whether a later clause of the sentence has another subject."""
    _relative_antecedent: EntityRef | None = None
    """The subject of the relative clause at the end of the sentence."""
    _last_hit_object: EntityRef | None = None
    _last_hit_subject: EntityRef | None = None
    _last_was_hit: bool = False
    """Whether the last contact message was a hit; a contrast such as 'but the tower stands' needs one."""

    def realize(self, messages: Sequence[Message]) -> RealizedText:
        """Write all messages, in order."""
        selected = [message for message in messages if self.with_consequences or not message.is_consequence]
        for message in selected or messages:
            self._realize_message(message)
        self._close_sentence()
        return RealizedText(
            sentences=tuple(self.sentences),
            claims=frozenset(self.stated_claims | self.references.stated_claims),
        )

    def _realize_message(self, message: Message) -> None:
        references = self.references
        if message.left_to_right:
            self._close_sentence()
            self._realize_arrangement(message)
            return
        template = self._choose_template(message)
        if template is clause_templates.KEEPS_MOVING and self.form == "gerund" and not self.sentences:
            template = clause_templates.CONTINUES
        join = template.join
        sentence_is_full = self._message_count >= self.max_messages_per_sentence
        subject = message.subject
        if message.kind == "fallen":
            template, subject = self._choose_fallen_template(message)
            join = template.join
        elif message.kind == "pushed" and message.object is None:
            template = ClauseTemplate("[move] {dir}")
            join = "and"
        elif message.kind == "chain stops":
            self._ensure_sentence(message)
            ending = self._fill_template(template.text, message)
            group = references.groups.get(str(message.subject))
            if (
                group is not None
                and references.register != "terse"
                and gap_stops_chain(references.annotations, group)
            ):
                reasons = adverbials.CAUSE_CLAUSES["gap"]
                ending += " " + (reasons[0] if references.register == "core" else pick(self.rng, reasons))
            self._flush_verbs()
            self._tail += f", but {ending}"
            self.stated_claims.update(message.claims)
            self._message_count += 1
            return
        elif message.kind == "tips over" and self._can_say_knocked_over(subject):
            template = pick(self.rng, clause_templates.KNOCKED_OVER)
            join = "ing"
            message = Message(kind="tips over", subject=self._subject, object=subject, claims=message.claims)
            subject = self._subject
        text = f"then {template.text}" if message.follows_previous and join != "ing" else template.text
        self.stated_claims.update(message.claims)
        is_active_voice = join == "ing" or message.kind == "pushed"
        if (
            self._head
            and self._relative_antecedent is not None
            and subject == self._relative_antecedent
            and is_active_voice
        ):
            self._tail += f", {self._clause(text, message, plural=False, form='gerund')}"
        elif (
            self._head
            and not sentence_is_full
            and subject == self._subject
            and not self._needs_new_sentence()
        ):
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
        elif self._head and not sentence_is_full and (self._terse or self.max_messages_per_sentence > 2):
            noun = references.mention(subject, bare=self._terse) if subject is not None else "it"
            if message.kind == "fallen":
                noun = self._fallen_subject(message)
            plural = self._is_plural(subject, noun)
            if message.kind == "fallen" and " of " in noun:
                plural = not re.match(r"(just|only|none|every|the)\b", noun)
            clause = self._clause(text, message, plural=plural, form="finite")
            self._flush_verbs()
            is_contrast = join == "but" or (message.kind == "fallen" and message.number == 0)
            connective = ", " if self._terse else ", but " if is_contrast and self._last_was_hit else ", and "
            self._tail += f"{connective}{noun} {clause}"
            self._subject_changed, self._relative_antecedent = True, subject
            self._last_mentioned = None
            if self._terse:
                self._subject = subject
        else:
            self._close_sentence()
            self._start_sentence(text, message, subject)
        self._message_count += 1
        if message.kind in ("hits", "misses", "short of"):
            self._last_hit_object, self._last_hit_subject = message.object, message.subject
            self._last_was_hit = message.kind == "hits"

    def _needs_new_sentence(self) -> bool:
        """Whether 'and stops' would attach to the wrong subject because the subject has changed."""
        return self._subject_changed and not self._terse and self.max_messages_per_sentence < 9

    def _can_say_knocked_over(self, subject: EntityRef | None) -> bool:
        """Whether 'tips over' can be worded as 'knocking it over', because the previous clause is the hit."""
        just_hit = (
            subject == self._last_hit_object == self._last_mentioned
            and self._last_hit_subject == self._subject
        )
        return just_hit and self.references.register in ("plain", "casual") and self.rng.random() < 0.6

    def _choose_fallen_template(self, message: Message) -> tuple[ClauseTemplate, EntityRef | None]:
        """A template for 'fallen' and its subject: the entity that hit the group, or the group."""
        tower = message.number == message.group_size and any(
            m.shape in ("block", "cube") for m in self.references.groups[str(message.subject)].members
        )
        core = self.references.register in ("core", "terse")
        if tower:
            return self._pick_by_register(clause_templates.TOWER_FALLS), message.subject
        if (
            self._last_hit_object == message.subject
            and self._last_hit_subject == self._subject
            and self._last_mentioned == message.subject
        ):
            if message.number == 0:
                return self._pick_by_register(clause_templates.FALLEN_NONE), self._subject
            templates = clause_templates.CLAUSE_TEMPLATES["fallen"]
            options = templates.casual if self.references.register == "casual" else templates.plain
            return (templates.core if core else pick(self.rng, options)), self._subject
        return self._pick_by_register(clause_templates.FALLEN_ALONE), message.subject

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
        """Write a sentence that names the objects of an arrangement from left to right."""
        plain = self._terse or self.references.register == "core"
        order = message.left_to_right if plain or self.rng.random() < 0.7 else ()
        row = message.kind != "middle"
        templates = {"in a row": adverbials.ROW_TEMPLATES, "middle": adverbials.TRIPLE_TEMPLATES}.get(
            message.kind, adverbials.EXISTENCE_TEMPLATES
        )
        bare = self._terse
        if order or row:
            things = [self.references.mention(ref, bare=bare) for ref in message.left_to_right]
            forms = templates if self.references.register not in ("core", "terse") else templates[:1]
            text = pick(self.rng, forms)
            if row:
                sentence = text.format(
                    things=", ".join(things) if bare else join_list(things),
                    ground=adverbials.GROUND_PHRASES[0],
                )
            else:
                sentence = text.format(left=things[0], middle=things[1], right=things[2])
            claims = message.claims
        else:
            middle, left, right = (self.references.mention(message.left_to_right[k]) for k in (1, 0, 2))
            sentence = adverbials.BETWEEN_TEMPLATE.format(left=left, middle=middle, right=right)
            claims = message.claims
        if bare:
            sentence = sentence.replace(" is on", " on")
        self.stated_claims.update(claims)
        gerund = self.form == "gerund" and not self.sentences
        self.sentences.append(
            normalize_spacing(
                inflect(
                    sentence,
                    plural=row and len(message.left_to_right) > 1,
                    form="gerund" if gerund else "finite",
                )
            )
        )

    def _ensure_sentence(self, message: Message) -> None:
        """Start a sentence with 'the group stands in a row' if none is open."""
        if not self._head:
            self._start_sentence("[stand] in a row", message, message.subject)

    def _start_sentence(self, text: str, message: Message, subject: EntityRef | None) -> None:
        references = self.references
        form: VerbForm = self.form if not self.sentences else "finite"
        if subject is None:
            noun, plural = "the scene", False
        elif subject == self._subject and self.sentences and not self._terse and self._last_was_plain:
            noun, plural = references.pronoun(subject), references.is_plural(subject)
        else:
            noun = references.mention(subject, bare=self._terse)
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
        """Move the coordinated verbs into the head; later clauses go into the tail."""
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
