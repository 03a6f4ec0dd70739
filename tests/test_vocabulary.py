"""Names and prose use the field's standard terms: words of the old private vocabulary do not come back.

Each banned word stands with the term to use. Identifiers are split at underscores and capitals. Prose is
everything else that a person reads: docstrings, comments, strings, and the documentation.
"""

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PYTHON_FILES = sorted(
    path for folder in ("src", "benchmarks", "tools", "examples") for path in (ROOT / folder).rglob("*.py")
)
TEST_FILES = sorted(path for path in (ROOT / "tests").rglob("*.py") if path.name != "test_vocabulary.py")
TEXT_FILES = sorted(
    path
    for path in (
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "src").rglob("*.md"),
        *(ROOT / "src").rglob("*.jinja"),
        *(ROOT / "examples").rglob("*.ipynb"),
        ROOT / "pyproject.toml",
        ROOT / "Makefile",
    )
)

EVERYWHERE = {
    "film": "video",
    "films": "videos",
    "filmed": "rendered, generated",
    "filming": "rendering, generating",
    "picture": "image, frame",
    "pictures": "images, frames",
    "told": "the noun that is meant",
    "spoken": "the noun that is meant",
    "speaks": "applies",
    "wish": "request",
    "wishes": "requests",
    "wished": "requested",
    "worn": "resampled, corrupted",
    "crowd": "process group",
    "reel": "timeline",
    "reels": "timelines",
    "judge": "evaluator, score",
    "judges": "scores",
    "judged": "scored",
    "judgement": "scores",
    "passage": "shot, segment",
    "passages": "shots, segments",
    "stretches": "windows, segments",
}
"""Banned as words of identifiers and in prose."""

IDENTIFIERS = {
    "said": "the noun that is meant",
    "given": "conditioning",
    "held": "clamped",
    "made": "result, output",
    "wanted": "requested",
    "asked": "requested",
    "anchors": "baselines",
    "house": "package",
}
"""Banned as words of identifiers only: in prose they have ordinary meanings."""

WHOLE_IDENTIFIERS = {
    "take": "segment, submit",
    "takes": "segments",
    "taken": "submitted",
    "beside": "with, next_to",
}
"""Banned as a whole identifier."""

PROSE = {
    r"film sets?": "simulator",
    r"(?:a|the|each|every|one|this|another) take": "segment",
    r"(?:two|three|several|both|many|these|few) takes": "segments",
    r"let go(?: of)?": "release",
    r"the house": "package, repository",
    r"by hand(?:s)? of": "from",
    r"what is (?:wanted|asked|wished)": "what is requested",
}
"""Banned phrases of prose, as regular expressions."""

ALLOWED_IDENTIFIERS = (
    r"connection_made",  # a method of asyncio.Protocol
    "held_out",  # held-out data
    "heldout",
    "trust_anchors",  # root certificates
    "user_anchors",
)
"""Terms of the field and of libraries; they are removed before an identifier is split into words."""
ALLOWED_PROSE = (r"held[- ]out",)
ALLOWED = {
    # Captions are English text: these files hold their words and phrases.
    "src/kinema/simulator/captions": {"film", "picture", "pictures"},
    "src/kinema/simulator/captions/everyday": {"filmed", "let go"},
    "tools/caption_audit/grammar.py": {"film", "picture"},
    # Names of random streams and hash prefixes: another word would give other clips and noise.
    "src/kinema/simulator/shards.py": {"films"},
    "src/kinema/training/resampled_latents.py": {"worn"},
    "src/kinema/training/vae_task.py": {"worn"},
}
"""Words and phrases that are allowed in strings of a folder or file, by its path."""


def words_of(identifier):
    for allowed in ALLOWED_IDENTIFIERS:
        identifier = re.sub(allowed, "", identifier, flags=re.IGNORECASE)
    spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", identifier)
    return {word.lower() for word in spaced.split("_")}


def allowed_in(path):
    relative = path.relative_to(ROOT).as_posix()
    return set().union(*(words for folder, words in ALLOWED.items() if relative.startswith(folder)))


def prose_findings(text, where, allowed=frozenset()):
    for pattern in ALLOWED_PROSE:
        text = re.sub(pattern, "", text, flags=re.IGNORECASE)
    # `snake_case` and `CamelCase` in prose are identifiers
    for name in set(re.findall(r"[A-Za-z]+(?:_[A-Za-z0-9]+)+", text)):
        yield from identifier_findings(name, where)
    for word, instead in EVERYWHERE.items():
        if word not in allowed and re.search(rf"(?<![\w/.-]){word}(?![\w])", text, re.IGNORECASE):
            yield f"{where}: {word!r} in prose; write {instead}"
    for pattern, instead in PROSE.items():
        match = re.search(rf"\b{pattern}\b", text, re.IGNORECASE)
        if match and match[0].lower() not in allowed:
            yield f"{where}: {match[0]!r} in prose; write {instead}"


def identifier_findings(name, where):
    words = words_of(name)
    if name.startswith("test_"):  # a sentence
        banned = EVERYWHERE
    elif len(words) == 1:
        banned = EVERYWHERE | IDENTIFIERS | WHOLE_IDENTIFIERS
    else:
        banned = EVERYWHERE | IDENTIFIERS
    for word in sorted(words & banned.keys()):
        yield f"{where}: {word!r} in the name {name}; write {banned[word]}"


def python_findings(path, *, with_prose=True):
    source = path.read_text(encoding="utf-8")
    relative, allowed = path.relative_to(ROOT), allowed_in(path)
    defined = set()
    for node in ast.walk(ast.parse(source)):
        line = getattr(node, "lineno", 0)
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                defined.add((node.name, line))
            case ast.arg():
                defined.add((node.arg, line))
            case ast.Name(ctx=ast.Store()):
                defined.add((node.id, line))
            case ast.Attribute(ctx=ast.Store()):
                defined.add((node.attr, line))
            case ast.Import() | ast.ImportFrom():
                defined.update((alias.asname, line) for alias in node.names if alias.asname)
            case ast.Constant(value=str()) if with_prose:
                yield from prose_findings(node.value, f"{relative}:{line}", allowed)
            case _:
                pass
    for name, line in sorted(defined, key=lambda pair: (pair[1], pair[0])):
        yield from identifier_findings(name, f"{relative}:{line}")
    if with_prose:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                yield from prose_findings(token.string, f"{relative}:{token.start[0]}", allowed)
    for part in relative.with_suffix("").parts:
        yield from identifier_findings(part, str(relative))


def text_findings(path):
    relative, allowed = path.relative_to(ROOT), allowed_in(path)
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        text = re.sub(r"`[^`]*`", "", line) if path.name == "CHANGELOG.md" else line
        yield from prose_findings(text, f"{relative}:{number}", allowed)


@pytest.mark.parametrize("path", PYTHON_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_python_files(path):
    findings = list(dict.fromkeys(python_findings(path)))
    assert not findings, "\n".join(findings)


@pytest.mark.parametrize("path", TEXT_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_text_files(path):
    findings = list(dict.fromkeys(text_findings(path)))
    assert not findings, "\n".join(findings)


@pytest.mark.parametrize("path", TEST_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_test_files(path):
    """Prompts in tests may use any English word; names and file names may not."""
    findings = list(dict.fromkeys(python_findings(path, with_prose=False)))
    assert not findings, "\n".join(findings)


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("def wish_of(): ...", "wish"),
        ("class FilmPath: ...", "film"),
        ("x = 'the film is finished'", "film"),
        ("# let go near the end", "let go"),
        ("def f(held_frames): ...", "held"),
        ("raise ValueError('each take has a prompt')", "each take"),
    ],
)
def test_findings(source, word, tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    path = tmp_path / "module.py"
    path.write_text(source)
    assert any(repr(word) in finding for finding in python_findings(path))


@pytest.mark.parametrize(
    "source",
    [
        "held_out = 1",
        "x = 'the model takes a prompt'",
        "from pathlib import Path",
        "# given a seed, the noise is fixed",
        "names = 'filmstrip'",
    ],
)
def test_ordinary_words_are_allowed(source, tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    path = tmp_path / "module.py"
    path.write_text(source)
    assert not list(python_findings(path))
