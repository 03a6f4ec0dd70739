"""The lab: an even gray room with soft light and eight hues, for films that are to be measured."""

from __future__ import annotations

from kinema.world.facts import Colour, Setting
from kinema.world.look.floors import LAB_FLOOR
from kinema.world.look.skies import LAB_SKY

LAB_COLOURS: tuple[Colour, ...] = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")
"""The eight hues, for solid plastic or rubber; white, black, gray and brown stand out less from the floor."""
LAB_SETTING = Setting(sky=LAB_SKY, floor=LAB_FLOOR, decor="plain")
