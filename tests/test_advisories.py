"""The audit of dependencies that needs no network: nothing with a known hole is installed or allowed."""

from __future__ import annotations

import importlib.metadata
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

HERE = Path(__file__).parent
KNOWN = tomllib.loads((HERE / "advisories.toml").read_text(encoding="utf-8"))
PROJECT = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def asked_for() -> dict[str, list[Requirement]]:
    """What pyproject.toml asks for, by package."""
    found: dict[str, list[Requirement]] = {}
    for lines in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()):
        for requirement in map(Requirement, lines):
            found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return found


def least(requirement: Requirement) -> Version:
    """The oldest version that is allowed."""
    bounds = [Version(part.version) for part in requirement.specifier if part.operator in (">=", "==", "~=")]
    return max(bounds, default=Version("0"))


@pytest.mark.parametrize("name", KNOWN)
def test_no_known_hole_is_installed(name):
    known = KNOWN[name]
    try:
        there = Version(importlib.metadata.version(known["package"]))
    except importlib.metadata.PackageNotFoundError:
        return
    assert there >= Version(known["fixed"]), f"{known['package']} {there} has {name}: {known['hole']}"


@pytest.mark.parametrize("name", KNOWN)
def test_no_known_hole_may_be_installed(name):
    known = KNOWN[name]
    for requirement in asked_for().get(known["package"], []):
        assert least(requirement) >= Version(known["fixed"]), f"{requirement} allows {name}: {known['hole']}"


def test_what_reads_requests_of_strangers_has_a_least_version():
    """These come with others; without a line of ours any version would do."""
    assert {"starlette", "h11", "python-multipart", "pillow"} <= set(asked_for())
