"""The lab: an even gray room with soft light and eight hues, for films that are to be measured."""

from __future__ import annotations

from kinema.simulator.annotations import Colour, Environment
from kinema.simulator.appearance.environments import LAB_SKY
from kinema.simulator.appearance.floors import LAB_FLOOR

LAB_COLOURS: tuple[Colour, ...] = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")
"""The eight hues, for solid plastic or rubber; white, black, gray and brown stand out less from the floor."""
LAB_ENVIRONMENT = Environment(sky=LAB_SKY, floor=LAB_FLOOR, background="plain")
