"""Reading a caption back: from its text to the statements it makes, each about certain things.

A small left-to-right parser. Noun phrases become marks, then verb phrases are tried at every place where
one may begin. A subject holds until another one takes over; 'which' is the thing just named, 'it' before
a verb the subject of the sentence before, 'it' after a verb the thing just named that is not the subject.
Words that nothing could read are reported: an unread word is a statement nobody checked.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

from kinema.world.audit.tables import (
    CAMERA,
    CAMERA_CLAUSE,
    CAMERA_LABELS,
    COMPILED,
    GOING,
    OPENING,
    PLACES,
    SLOW,
    forms,
)
from kinema.world.audit.things import NUMBERS, Mention, mention_at
from kinema.world.facts import ClipFacts

Who = int | str | None
"""An entity's index, the name of a group, or nobody."""


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One thing a caption says."""

    kind: str
    subject: Who = None
    object: Who = None
    value: str = ""
    number: int | None = None
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a caption says, and the words that were not understood."""

    statements: tuple[Statement, ...]
    unread: tuple[str, ...]


_SKIP = re.compile(r"[\s,:]+|(?:and|but|then|meanwhile|while|with|here)\b")
_MARK = re.compile(r"<([^>]+)>")
_WORD = re.compile(r"[\w'-]+")
_CAUSES = (
    (
        "no wall",
        re.compile(r" (?:because there is no wall|because no wall is in the way|since there is no wall)"),
    ),
    ("wall", re.compile(r" (?:because a wall is in the way|because there is a wall)")),
    ("gap", re.compile(r" because (?:the gap is too wide|the next one is too far away)")),
)
_PLACE_START = re.compile(r"^(?:under|in|on|at|as|with|near|before|against|among|beside|inside|out)\b")
_SCENE = re.compile(r"^(?:the scene is set|all this happens|it takes place) ")


def read(text: str, facts: ClipFacts, *, terse: bool = False) -> Reading:
    """What a caption says of a clip.

    Args:
        text: the caption.
        facts: only its list of entities is looked at, to tell what a noun phrase means.
        terse: nouns may stand without articles.
    """
    parser = _Parser(facts=facts, terse=terse)
    return parser.read(text)


class _Parser:
    def __init__(self, facts: ClipFacts, terse: bool) -> None:
        self.facts = facts
        self.terse = terse
        self.statements: list[Statement] = []
        self.unread: list[str] = []
        self.met: list[int] = []
        self.marks: list[Mention] = []
        self.subject: Who = None
        self.last: Who = None

    def read(self, text: str) -> Reading:
        text = text.lower().strip().removesuffix(".")
        for label, move in CAMERA_LABELS.items():
            if text.startswith((label + ":", label + ".")):
                self.statements.append(Statement(kind="camera", value=move, text=label))
                text = text[len(label) + 1 :].strip()
                break
        for sentence in re.split(r"\.\s+", text):
            self._sentence(sentence)
        return Reading(statements=tuple(self.statements), unread=tuple(self.unread))

    # What is not about the things ------------------------------------------------------------

    def _camera(self, text: str) -> str:
        def found(match: re.Match[str]) -> str:
            for name, pattern in CAMERA:
                clause = re.fullmatch(pattern, match["clause"].strip())
                if clause:
                    value = name.format(clause["side"]) if "{}" in name else name
                    self.statements.append(Statement(kind="camera", value=value, text=match[0]))
                    return ""
            self.unread.append(match[0])
            return ""

        return CAMERA_CLAUSE.sub(found, text)

    def _causes(self, text: str) -> str:
        for value, pattern in _CAUSES:
            found = pattern.search(text)
            if found:
                self.statements.append(Statement(kind="because", value=value, text=found[0]))
                text = pattern.sub("", text)
        return text

    def _places(self, text: str) -> str:
        kept = []
        for segment in text.split(", "):
            plain = OPENING.sub("", _SCENE.sub("", segment))
            key = next((key for key in PLACES if key in plain), None)
            if key and (_PLACE_START.match(plain) or _SCENE.match(segment)):
                kind, name = PLACES[key]
                self.statements.append(Statement(kind=kind, value=name, text=plain))
            else:
                kept.append(segment)
        return ", ".join(kept)

    # The things ------------------------------------------------------------------------------

    def _marked(self, text: str) -> str:
        """The text with every noun phrase replaced by a numbered mark."""
        out, at = "", 0
        while at < len(text):
            if at and (text[at - 1].isalnum() or text[at - 1] in "-'"):
                out += text[at]
                at += 1
                continue
            found = mention_at(text, at, self.facts, self.met)
            if found is None or not self._is_mention(found[0], out):
                out += text[at]
                at += 1
                continue
            mention, at = found
            if mention.entity is not None:
                self.met.append(mention.entity)
            if not mention.text.startswith("the ") or mention.wrong:
                self.statements.append(
                    Statement(
                        kind="named",
                        subject=mention.entity if mention.entity is not None else mention.group,
                        value=mention.wrong,
                        text=mention.text,
                    )
                )
            if mention.number is not None and not mention.partial and mention.group:
                self.statements.append(
                    Statement(kind="count", subject=mention.group, number=mention.number, text=mention.text)
                )
            self.marks.append(mention)
            out += f"<{len(self.marks) - 1}>"
        return out

    def _is_mention(self, mention: Mention, before: str) -> bool:
        words = mention.text.split()
        if (
            before.endswith(("in ", "in a ", "off "))
            and len(words) <= 2
            and words[-1] in ("row", "screen", "line")
        ):
            return False
        return self.terse or len(words) > 1

    def _who(self, mark: str) -> Who:
        mention = self.marks[int(mark)]
        return mention.entity if mention.entity is not None else mention.group

    # Sentences -------------------------------------------------------------------------------

    def _sentence(self, text: str) -> None:
        text = self._places(self._causes(self._camera(text)))
        text = OPENING.sub("", text.strip(" ,"))
        ordered = "from left to right" in text
        text = re.sub(r"^from left to right, |(?<=in a row), from left to right$", "", text)
        text = re.sub(r"(?<=lined up) from left to right$", "", text)
        text = re.sub(
            r"^(?:in the background|farther back) (stands?) (.*)$", r"\2 \1 in the background", text
        )
        text = self._marked(text)
        before, here = self.subject, self.subject
        pending: list[str] = []
        which = False
        relative: Who = None
        at = 0
        while at < len(text):
            skip = _SKIP.match(text, at)
            if skip and skip.end() > at:
                at = skip.end()
                continue
            mark = _MARK.match(text, at)
            if mark:
                pending.append(mark[1])
                self.last = self._who(mark[1])
                at = mark.end()
                continue
            word = _WORD.match(text, at)
            if word and word[0] == "which":
                which, at = True, word.end()
                continue
            if word and word[0] in ("it", "they"):
                here, pending, at = before if before is not None else here, [], word.end()
                continue
            found = next(
                ((kind, m) for kind, p in COMPILED if (m := p.match(text, at)) and m.end() > at), None
            )
            if found is None:
                end = word.end() if word else at + 1
                self.unread.append(text[at:end])
                at = end
                continue
            kind, match = found
            subject: Who = here
            number = None
            if which:
                subject = relative = self.last
            elif relative is not None and not pending and re.match(r"\w+ing\b", text[at:]):
                # ', which hits a cube, pushing it': the same relative clause goes on.
                subject = relative
            elif pending:
                here = subject = self._who(pending[-1])
                number = self.marks[int(pending[-1])].number if self.marks[int(pending[-1])].partial else None
            self._say(kind, match, subject, number, pending, ordered)
            if not which and self.subject != here:
                before = before if before is not None else here
            which, pending = False, []
            at = match.end()
        for mark in pending:
            if not self._is_bare(mark):
                self.unread.append(self.marks[int(mark)].text)
        self.subject = here

    def _is_bare(self, mark: str) -> bool:
        return self._who(mark) is None

    def _object(self, groups: dict[str, str | None], subject: Who) -> Who:
        said = next((groups[name] for name in ("o", "o2", "o3", "some", "some2") if groups.get(name)), None)
        if said is None:
            return None
        mark = _MARK.fullmatch(said)
        if mark:
            self.last = self._who(mark[1])
            return self.last
        return self.last if self.last != subject else None

    def _number(self, groups: dict[str, str | None]) -> int | None:
        for name in ("some", "some2", "number", "o"):
            said = groups.get(name)
            if not said:
                continue
            mark = _MARK.fullmatch(said)
            if mark:
                return self.marks[int(mark[1])].number
            if said in NUMBERS:
                return NUMBERS[said]
        return None

    def _say(
        self,
        kind: str,
        match: re.Match[str],
        subject: Who,
        number: int | None,
        pending: list[str],
        ordered: bool,
    ) -> None:
        groups = match.groupdict()
        thing = self._object(groups, subject)
        side = groups.get("side") or groups.get("side2") or ""
        value = side or _direction(groups) or (groups.get("turn") or "").replace("anti", "counter")
        text = match[0]
        add = self.statements.append
        if kind in ("moves", "slides down"):
            verb = groups.get("verb") or ""
            add(Statement(kind=kind, subject=subject, object=thing, value=value, text=text))
            how = next((name for name, verbs in GOING.items() if re.fullmatch(forms(*verbs), verb)), "")
            if how in ("quick", "slow"):
                add(Statement(kind="speed", subject=subject, value=how, text=text))
            elif how and how != "move":
                add(Statement(kind="manner", subject=subject, value=how, text=text))
        elif kind == "row":
            who = [self._who(mark) for mark in pending]
            if ordered:
                for first, second in itertools.pairwise(who):
                    add(Statement(kind="left of", subject=first, object=second, text=text))
            elif len(who) < 2:
                add(Statement(kind="row", subject=subject, text=text))
        elif kind == "between":
            right = groups.get("o2") or ""
            first = groups.get("o") or ""
            add(Statement(kind="left of", subject=self._who(first[1:-1]), object=subject, text=text))
            add(Statement(kind="right of", subject=self._who(right[1:-1]), object=subject, text=text))
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
            add(Statement(kind="fallen", subject=thing, number=self._number(groups), text=text))
        elif kind == "tips it":
            add(Statement(kind="tips over", subject=thing, text=text))
        elif kind == "falls onto":
            add(Statement(kind="falls", subject=subject, text=text))
            add(Statement(kind="hits", subject=subject, object=thing, text=text))
        elif kind == "flung":
            add(Statement(kind="pushed", subject=subject, object=thing, value=value or "away", text=text))
        elif kind in ("fallen", "fallen none", "only fall"):
            count = 0 if kind == "fallen none" else self._number(groups)
            add(Statement(kind="fallen", subject=thing, number=count, text=text))
        elif kind == "chain stops":
            add(Statement(kind="chain stops", subject=subject, text=text))
            if groups.get("number"):
                add(Statement(kind="fallen", subject=subject, number=self._number(groups), text=text))
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
                add(Statement(kind="exists", subject=self._who(mark), text=text))
            add(Statement(kind="exists", subject=subject, text=text))
        elif kind == "behind":
            for mark in pending:
                add(Statement(kind="behind", subject=self._who(mark), text=text))
        else:
            add(Statement(kind=kind, subject=subject, object=thing, value=value, text=text))
        speed = next((groups[name] for name in ("speed", "speed2", "speed3") if groups.get(name)), None)
        if speed:
            if kind == "speed":
                self.statements.pop()
            pace = "slow" if speed in SLOW else "quick"
            add(
                Statement(
                    kind="turning" if kind in ("spins", "circles") else "speed",
                    subject=subject,
                    value=pace,
                    text=text,
                )
            )


def _direction(groups: dict[str, str | None]) -> str:
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
