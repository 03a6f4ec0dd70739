"""The audit of dependencies without the network: no vulnerable version is installed or allowed."""

from __future__ import annotations

import importlib.metadata
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

HERE = Path(__file__).parent
ADVISORIES = tomllib.loads((HERE / "advisories.toml").read_text(encoding="utf-8"))
PROJECT = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def declared_requirements() -> dict[str, list[Requirement]]:
    """The requirements in pyproject.toml, by package."""
    found: dict[str, list[Requirement]] = {}
    for lines in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()):
        for requirement in map(Requirement, lines):
            found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return found


def minimum_version(requirement: Requirement) -> Version:
    """The oldest allowed version."""
    bounds = [Version(part.version) for part in requirement.specifier if part.operator in (">=", "==", "~=")]
    return max(bounds, default=Version("0"))


@pytest.mark.parametrize("name", ADVISORIES)
def test_no_vulnerable_version_is_installed(name):
    known = ADVISORIES[name]
    try:
        installed = Version(importlib.metadata.version(known["package"]))
    except importlib.metadata.PackageNotFoundError:
        return
    assert installed >= Version(known["fixed"]), (
        f"{known['package']} {installed} has {name}: {known['vulnerability']}"
    )


@pytest.mark.parametrize("name", ADVISORIES)
def test_no_vulnerable_version_is_allowed(name):
    known = ADVISORIES[name]
    for requirement in declared_requirements().get(known["package"], []):
        assert minimum_version(requirement) >= Version(known["fixed"]), (
            f"{requirement} allows {name}: {known['vulnerability']}"
        )


def test_network_facing_packages_have_a_minimum_version():
    """They are dependencies of dependencies; without an own requirement any version would be allowed."""
    assert {"starlette", "h11", "python-multipart", "pillow"} <= set(declared_requirements())
