"""Documentation names files, links and options that exist."""

import ast
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
NOT_MODULES = ("load", "toml", "json", "width", "height", "ignored", "loras", "settings", "warnings")
"""Words after `kinema.` that are functions, suffixes, or fields of an HTTP answer."""
MODEL_CARD = ROOT / "src/kinema/weights/world/README.md"


def page_id(page):
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", [*PAGES, MODEL_CARD], ids=page_id)
def test_links_lead_to_files(page):
    for link in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        if not re.match(r"[a-z]+:", link):
            assert (page.parent / link).exists(), f"{page_id(page)} links to {link}"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_named_source_files_exist(page):
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"`((?:[\w.-]+/)+[\w.-]*(?:\.py)?)`", text):
        if name.split("/")[0] in (
            "pipeline",
            "models",
            "sampling",
            "media",
            "cli",
            "server",
            "webui",
            "data",
        ):
            # `webui` is also the folder of the page's sources.
            places = (ROOT / "src/kinema" / name, ROOT / name)
            assert any(place.exists() for place in places), f"{page_id(page)} names {name}"
        elif name.split("/")[0] in ("tests", "benchmarks", "tools", "examples", "src") or name[:4] == "docs":
            assert (ROOT / name).exists(), f"{page_id(page)} names {name}"


def test_the_diagram_names_files_that_exist():
    diagram = (ROOT / "docs/images/data-flow.svg").read_text(encoding="utf-8")
    names = re.findall(r"[a-z_]+/[a-z_]+\.py|frames\.py", diagram)
    assert len(names) >= 15
    for name in names:
        assert (ROOT / "src/kinema" / name).exists(), name


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_named_modules_exist(page):
    for name in set(re.findall(r"\bkinema(?:\.[a-z][a-z_0-9]*)+", page.read_text(encoding="utf-8"))):
        parts = name.split(".")[1:]
        while parts and not (ROOT / "src/kinema" / "/".join(parts)).exists():
            if (ROOT / "src/kinema" / "/".join(parts)).with_suffix(".py").exists():
                break
            parts.pop()
        assert parts or name.split(".")[1] in NOT_MODULES, f"{page_id(page)} names {name}"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_python_blocks_parse(page):
    for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        ast.parse(block)


def test_commands_and_options_exist():
    """Every `kinema` command of the pages is parsed by the command line's own parser."""
    import shlex

    from kinema.cli import parse_command
    from kinema.errors import UserError

    commands = set()
    for page in [*PAGES, MODEL_CARD]:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in re.findall(r"^ {4}(?:\S+=\S+ )*(kinema .+)$", text, re.MULTILINE):
            commands.add(line.split("  #")[0].strip())
    assert len(commands) > 30
    for command in sorted(commands):
        arguments = shlex.split(command)[1:]
        try:
            parse_command(arguments)
        except (SystemExit, UserError) as error:
            raise AssertionError(f"the command line does not accept: {command}") from error


def test_every_page_is_in_the_navigation():
    class Loader(yaml.SafeLoader):
        pass

    def paths(entries):
        for entry in entries:
            for value in entry.values():
                yield from [value] if isinstance(value, str) else paths(value)

    settings = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader)
    pages = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
    assert set(paths(settings["nav"])) == pages


def test_workflows_and_templates_parse():
    files = [*(ROOT / ".github").rglob("*.yml"), ROOT / "CITATION.cff", ROOT / ".pre-commit-config.yaml"]
    assert len(files) >= 5
    for file in files:
        assert yaml.safe_load(file.read_text(encoding="utf-8"))
