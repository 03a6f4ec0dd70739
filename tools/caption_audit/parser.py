"""Parses a caption into statements about entities.

A left-to-right parser. Noun phrases are replaced by numbered marks, then verb phrases are matched at every
position. A subject stays until another noun phrase replaces it. 'which' refers to the last noun phrase, 'it'
before a verb to the subject of the previous sentence, and 'it' after a verb to the last noun phrase that is
not the subject. Unparsed words are reported, because they may be unchecked statements.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

from kinema.simulator.annotations import ClipAnnotations
from tools.caption_audit.grammar import (
    CAMERA_CLAUSE,
    CAMERA_LABELS,
    CAMERA_PREDICATES,
    CAPTION_OPENING,
    COMPILED_PREDICATES,
    ENVIRONMENTS,
    MOTION_VERBS,
    SLOW_ADVERBS,
    forms,
)
from tools.caption_audit.noun_phrases import NUMBERS, Mention, parse_mention

EntityRef = int | str | None
"""The index of an entity, the name of a group, or None."""


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One statement of a caption."""

    kind: str
    subject: EntityRef = None
    object: EntityRef = None
    value: str = ""
    number: int | None = None
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class ParsedCaption:
    """The statements of a caption, and the words that were not parsed."""

    statements: tuple[Statement, ...]
    unparsed: tuple[str, ...]


_SKIP = re.compile(r"[\s,:]+|(?:and|but|then|meanwhile|while|with|here)\b")
_MARK = re.compile(r"<([^>]+)>")
_WORD = re.compile(r"[\w'-]+")
_CAUSE_PATTERNS = (
    (
        "no wall",
        re.compile(r" (?:because there is no wall|because no wall is in the way|since there is no wall)"),
    ),
    ("wall", re.compile(r" (?:because a wall is in the way|because there is a wall)")),
    ("gap", re.compile(r" because (?:the gap is too wide|the next one is too far away)")),
)
_ENVIRONMENT_START = re.compile(r"^(?:under|in|on|at|as|with|near|before|against|among|beside|inside|out)\b")
_ENVIRONMENT_OPENING = re.compile(r"^(?:the scene is set|all this happens|it takes place) ")


def parse_caption(text: str, annotations: ClipAnnotations, *, terse: bool = False) -> ParsedCaption:
    """Parse a caption.

    Args:
        text: the caption.
        annotations: the clip's annotations; entities and cause resolve noun phrases.
        terse: allow nouns without articles.
    """
    parser = _Parser(annotations=annotations, terse=terse)
    return parser.parse(text)


class _Parser:
    def __init__(self, annotations: ClipAnnotations, terse: bool) -> None:
        self.annotations = annotations
        self.terse = terse
        self.statements: list[Statement] = []
        self.unparsed: list[str] = []
        self.mentioned: list[int] = []
        self.mentions: list[Mention] = []
        self.subject: EntityRef = None
        self.last_mentioned: EntityRef = None

    def parse(self, text: str) -> ParsedCaption:
        text = text.lower().strip().removesuffix(".")
        for label, move in CAMERA_LABELS.items():
            if text.startswith((label + ":", label + ".")):
                self.statements.append(Statement(kind="camera", value=move, text=label))
                text = text[len(label) + 1 :].strip()
                break
        for sentence in re.split(r"\.\s+", text):
            self._parse_sentence(sentence)
        return ParsedCaption(statements=tuple(self.statements), unparsed=tuple(self.unparsed))

    def _parse_camera(self, text: str) -> str:
        def found(match: re.Match[str]) -> str:
            for name, pattern in CAMERA_PREDICATES:
                clause = re.fullmatch(pattern, match["clause"].strip())
                if clause:
                    value = name.format(clause["side"]) if "{}" in name else name
                    self.statements.append(Statement(kind="camera", value=value, text=match[0]))
                    return ""
            self.unparsed.append(match[0])
            return ""

        return CAMERA_CLAUSE.sub(found, text)

    def _parse_causes(self, text: str) -> str:
        for value, pattern in _CAUSE_PATTERNS:
            found = pattern.search(text)
            if found:
                self.statements.append(Statement(kind="because", value=value, text=found[0]))
                text = pattern.sub("", text)
        return text

    def _parse_environment(self, text: str) -> str:
        kept = []
        for segment in text.split(", "):
            plain = CAPTION_OPENING.sub("", _ENVIRONMENT_OPENING.sub("", segment))
            key = next((key for key in ENVIRONMENTS if key in plain), None)
            if key and (_ENVIRONMENT_START.match(plain) or _ENVIRONMENT_OPENING.match(segment)):
                kind, name = ENVIRONMENTS[key]
                self.statements.append(Statement(kind=kind, value=name, text=plain))
            else:
                kept.append(segment)
        return ", ".join(kept)

    def _mark_noun_phrases(self, text: str) -> str:
        """The text with every noun phrase replaced by a numbered mark."""
        out, at = "", 0
        while at < len(text):
            if at and (text[at - 1].isalnum() or text[at - 1] in "-'"):
                out += text[at]
                at += 1
                continue
            found = parse_mention(text, at, self.annotations, self.mentioned)
            if found is None or not self._is_mention(found[0], out):
                out += text[at]
                at += 1
                continue
            mention, at = found
            if mention.entity is not None:
                self.mentioned.append(mention.entity)
            if not mention.text.startswith("the ") or mention.error:
                self.statements.append(
                    Statement(
                        kind="named",
                        subject=mention.entity if mention.entity is not None else mention.group,
                        value=mention.error,
                        text=mention.text,
                    )
                )
            if mention.number is not None and not mention.partial and mention.group:
                self.statements.append(
                    Statement(kind="count", subject=mention.group, number=mention.number, text=mention.text)
                )
            self.mentions.append(mention)
            out += f"<{len(self.mentions) - 1}>"
        return out

    def _is_mention(self, mention: Mention, previous_subject: str) -> bool:
        words = mention.text.split()
        if (
            previous_subject.endswith(("in ", "in a ", "off "))
            and len(words) <= 2
            and words[-1] in ("row", "screen", "line")
        ):
            return False
        return self.terse or len(words) > 1

    def _resolve_mark(self, mark: str) -> EntityRef:
        mention = self.mentions[int(mark)]
        return mention.entity if mention.entity is not None else mention.group

    def _parse_sentence(self, text: str) -> None:
        text = self._parse_environment(self._parse_causes(self._parse_camera(text)))
        text = CAPTION_OPENING.sub("", text.strip(" ,"))
        ordered = "from left to right" in text
        text = re.sub(r"^from left to right, |(?<=in a row), from left to right$", "", text)
        text = re.sub(r"(?<=lined up) from left to right$", "", text)
        text = re.sub(
            r"^(?:in the background|farther back) (stands?) (.*)$", r"\2 \1 in the background", text
        )
        text = self._mark_noun_phrases(text)
        previous_subject, current_subject = self.subject, self.subject
        pending: list[str] = []
        which = False
        relative: EntityRef = None
        at = 0
        while at < len(text):
            skip = _SKIP.match(text, at)
            if skip and skip.end() > at:
                at = skip.end()
                continue
            mark = _MARK.match(text, at)
            if mark:
                pending.append(mark[1])
                self.last_mentioned = self._resolve_mark(mark[1])
                at = mark.end()
                continue
            word = _WORD.match(text, at)
            if word and word[0] == "which":
                which, at = True, word.end()
                continue
            if word and word[0] in ("it", "they"):
                current_subject, pending, at = (
                    previous_subject if previous_subject is not None else current_subject,
                    [],
                    word.end(),
                )
                continue
            found = next(
                ((kind, m) for kind, p in COMPILED_PREDICATES if (m := p.match(text, at)) and m.end() > at),
                None,
            )
            if found is None:
                end = word.end() if word else at + 1
                self.unparsed.append(text[at:end])
                at = end
                continue
            kind, match = found
            subject: EntityRef = current_subject
            number = None
            if which:
                subject = relative = self.last_mentioned
            elif relative is not None and not pending and re.match(r"\w+ing\b", text[at:]):
                # ', which hits a cube, pushing it': the relative clause continues.
                subject = relative
            elif pending:
                current_subject = subject = self._resolve_mark(pending[-1])
                number = (
                    self.mentions[int(pending[-1])].number
                    if self.mentions[int(pending[-1])].partial
                    else None
                )
            self._add_statements(kind, match, subject, number, pending, ordered)
            if not which and self.subject != current_subject:
                previous_subject = previous_subject if previous_subject is not None else current_subject
            which, pending = False, []
            at = match.end()
        for mark in pending:
            if not self._is_unresolved(mark):
                self.unparsed.append(self.mentions[int(mark)].text)
        self.subject = current_subject

    def _is_unresolved(self, mark: str) -> bool:
        return self._resolve_mark(mark) is None

    def _resolve_object(self, groups: dict[str, str | None], subject: EntityRef) -> EntityRef:
        matched = next(
            (groups[name] for name in ("o", "o2", "o3", "some", "some2") if groups.get(name)), None
        )
        if matched is None:
            return None
        mark = _MARK.fullmatch(matched)
        if mark:
            self.last_mentioned = self._resolve_mark(mark[1])
            return self.last_mentioned
        return self.last_mentioned if self.last_mentioned != subject else None

    def _parse_number(self, groups: dict[str, str | None]) -> int | None:
        for name in ("some", "some2", "number", "o"):
            matched = groups.get(name)
            if not matched:
                continue
            mark = _MARK.fullmatch(matched)
            if mark:
                return self.mentions[int(mark[1])].number
            if matched in NUMBERS:
                return NUMBERS[matched]
        return None

    def _add_statements(
        self,
        kind: str,
        match: re.Match[str],
        subject: EntityRef,
        number: int | None,
        pending: list[str],
        ordered: bool,
    ) -> None:
        groups = match.groupdict()
        thing = self._resolve_object(groups, subject)
        side = groups.get("side") or groups.get("side2") or ""
        value = side or _parse_direction(groups) or (groups.get("turn") or "").replace("anti", "counter")
        text = match[0]
        add = self.statements.append
        if kind in ("moves", "slides down"):
            verb = groups.get("verb") or ""
            add(Statement(kind=kind, subject=subject, object=thing, value=value, text=text))
            how = next(
                (name for name, verbs in MOTION_VERBS.items() if re.fullmatch(forms(*verbs), verb)), ""
            )
            if how in ("quick", "slow"):
                add(Statement(kind="speed", subject=subject, value=how, text=text))
            elif how and how != "move":
                add(Statement(kind="manner", subject=subject, value=how, text=text))
        elif kind == "row":
            order = [self._resolve_mark(mark) for mark in pending]
            if ordered:
                for first, second in itertools.pairwise(order):
                    add(Statement(kind="left of", subject=first, object=second, text=text))
            elif len(order) < 2:
                add(Statement(kind="row", subject=subject, text=text))
        elif kind == "between":
            right = groups.get("o2") or ""
            first = groups.get("o") or ""
            add(Statement(kind="left of", subject=self._resolve_mark(first[1:-1]), object=subject, text=text))
            add(
                Statement(kind="right of", subject=self._resolve_mark(right[1:-1]), object=subject, text=text)
            )
        elif kind == "bounces":
            height = groups.get("height") or ""
            add(
                Statement(
                    kind="bounces", subject=subject, value="high" if "high" in height else "little", text=text
                )
            )
        elif kind == "bounces none":
            add(Statement(kind="bounces", subject=subject, value="none", text=text))
        elif kind == "tips it" and isinstance(thing, str):
            add(Statement(kind="fallen", subject=thing, number=self._parse_number(groups), text=text))
        elif kind == "tips it":
            add(Statement(kind="tips over", subject=thing, text=text))
        elif kind == "falls onto":
            add(Statement(kind="falls", subject=subject, text=text))
            add(Statement(kind="hits", subject=subject, object=thing, text=text))
        elif kind == "flung":
            add(Statement(kind="pushed", subject=subject, object=thing, value=value or "away", text=text))
        elif kind in ("fallen", "fallen none", "only fall"):
            count = 0 if kind == "fallen none" else self._parse_number(groups)
            add(Statement(kind="fallen", subject=thing, number=count, text=text))
        elif kind == "chain stops":
            add(Statement(kind="chain stops", subject=subject, text=text))
            if groups.get("number"):
                add(Statement(kind="fallen", subject=subject, number=self._parse_number(groups), text=text))
        elif kind in ("falls or topples", "tips over") and isinstance(subject, str):
            add(
                Statement(
                    kind="fallen", subject=subject, number=number if number is not None else -1, text=text
                )
            )
        elif kind == "falls or topples":
            topples = "over" in text or "topp" in text or "collap" in text
            add(Statement(kind="tips over" if topples else "falls", subject=subject, text=text))
        elif kind == "count" or kind == "exists":
            for mark in pending[:-1]:
                add(Statement(kind="exists", subject=self._resolve_mark(mark), text=text))
            add(Statement(kind="exists", subject=subject, text=text))
        elif kind == "behind":
            for mark in pending:
                add(Statement(kind="behind", subject=self._resolve_mark(mark), text=text))
        else:
            add(Statement(kind=kind, subject=subject, object=thing, value=value, text=text))
        speed = next((groups[name] for name in ("speed", "speed2", "speed3") if groups.get(name)), None)
        if speed:
            if kind == "speed":
                self.statements.pop()
            pace = "slow" if speed in SLOW_ADVERBS else "quick"
            add(
                Statement(
                    kind="turning" if kind in ("spins", "circles") else "speed",
                    subject=subject,
                    value=pace,
                    text=text,
                )
            )


def _parse_direction(groups: dict[str, str | None]) -> str:
    for name in ("dl1", "dl2", "dl3"):
        if groups.get(name):
            return groups[name] or ""
    if groups.get("da"):
        return "away"
    if groups.get("dt"):
        return "toward"
    if groups.get("dd"):
        return "down"
    return "aside" if groups.get("ds") else ""
