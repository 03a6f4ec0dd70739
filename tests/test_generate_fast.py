"""Few steps where the weights were made for them, and a clear line where they were not."""

from __future__ import annotations

import dataclasses

import pytest

from kinema.cli.settings import Settings
from kinema.errors import UserError
from kinema.generate.fast import fast_of
from kinema.models.recipe import Recipe
from kinema.models.source import open_model


def test_the_recipe_names_the_fast_path() -> None:
    model = open_model("world")
    distilled = dataclasses.replace(model, recipe=dataclasses.replace(model.recipe, fast_steps=2))
    assert fast_of(distilled).steps == 2
    assert fast_of(distilled).guidance == 1
    with pytest.raises(ValueError, match="at least one"):
        Recipe(fast_steps=0)


def test_what_is_not_distilled_says_so() -> None:
    with pytest.raises(UserError, match="not distilled"):
        Settings(fast=True).wish("a ball")
    with pytest.raises(UserError, match="leave out fast"):
        Settings(fast=True, steps=3).wish("a ball")
    assert Settings(steps=3).wish("a ball").steps == 3
