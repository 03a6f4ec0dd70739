"""Phrases for skies, floors and backgrounds."""

from __future__ import annotations

from kinema.simulator.annotations import Environment

SKIES: dict[str, tuple[str, ...]] = {
    "clear blue sky": ("under a clear blue sky", "on a sunny day", "in bright sunshine"),
    "cloudy sky": ("under a partly cloudy sky", "on a cloudy day", "under drifting clouds"),
    "overcast sky": ("under an overcast sky", "on a dull grey day"),
    "sunset": ("at sunset", "in warm evening light", "as the sun goes down"),
    "dawn": ("at dawn", "in the soft light of early morning", "at daybreak"),
    "night": ("at night", "in the moonlight", "under the stars"),
    "studio": ("in a bright studio", "against a plain studio backdrop"),
    "dark studio": ("in a dark studio", "against a dark backdrop"),
    "pastel studio": ("in a pastel-coloured studio", "in front of a soft pastel backdrop"),
    "lab light": ("in even light", "in soft even light"),
    "apartment": ("in an apartment", "in a bright empty apartment"),
    "bridge": ("in a glass footbridge", "inside a glass-walled footbridge"),
    "city at night": ("in the savanna at dusk", "on a dry plain under the first stars"),
    "city street": ("in a city square", "on a wide square with tall buildings"),
    "dawn field": ("among rocky hills at dawn", "in rocky hills at daybreak"),
    "esplanade": ("in a shopping mall", "inside a shopping centre"),
    "forest": ("in a forest", "in the woods"),
    "hall": ("in a large hall", "in a great dark hall with white curtains"),
    "laboratory": ("in a hall of old machines", "inside a green machine hall"),
    "lobby": ("in a lobby", "in a modern lobby"),
    "open sky": ("beside still water", "under a blue sky beside the water"),
    "park": ("in a meadow", "out in a sunny meadow"),
    "photo studio": ("in a photo studio", "in a dark photo studio"),
    "rooftop sunset": ("in front of an old palace", "in a palace square"),
    "sunrise": ("in a misty field at sunrise", "at sunrise in the mist"),
    "warehouse": ("in a warehouse", "inside a warehouse"),
    "waterfront": ("at a waterfront in the evening", "beside the water in the evening"),
    "workshop": ("in a workshop",),
}

FLOORS: dict[str, tuple[str, ...]] = {
    "wooden floor": ("on a wooden floor", "on wooden boards"),
    "checkered floor": ("on a checkered floor", "on a floor of black and white squares"),
    "grass": ("on grass", "on a lawn"),
    "sand": ("on sand", "on sandy ground"),
    "snow": ("on snow", "on snowy ground"),
    "concrete floor": ("on a concrete floor", "on bare concrete"),
    "tiled floor": ("on a tiled floor", "on pale tiles"),
    "carpet": ("on a carpet", "on a red carpet"),
    "marble floor": ("on a marble floor", "on polished marble"),
    "asphalt": ("on asphalt", "on a tarmac surface"),
    "lab floor": ("on a plain gray floor", "on a bare gray floor"),
    "plain floor": ("on a plain floor",),
    "brick pavement": ("on a brick pavement", "on brick paving"),
}

BACKGROUNDS: dict[str, tuple[str, ...]] = {
    "trees": ("with trees in the background", "in front of some trees", "near a small wood"),
    "houses": ("in front of small houses", "with houses in the background", "at the edge of a village"),
    "hills": ("with green hills in the distance", "before rolling hills"),
    "mountains": ("with mountains in the distance", "in front of distant mountains"),
    "rocks": ("with rocks scattered behind", "in front of some boulders"),
    "city": ("with city buildings in the background", "in front of tall buildings"),
    "columns": ("in front of a row of marble columns", "with stone columns behind"),
}

WALLS: dict[str, tuple[str, ...]] = {
    "brick": ("in front of a brick wall", "with a brick wall behind"),
    "plain": ("in front of a plain backdrop wall",),
    "striped": ("in front of a striped backdrop wall",),
    "wooden": ("in front of a wooden backdrop wall",),
}


def sky_phrases(environment: Environment) -> tuple[str, ...]:
    """Phrases for the sky or place."""
    return SKIES.get(environment.sky, ())


def floor_phrases(environment: Environment) -> tuple[str, ...]:
    """Phrases for the floor."""
    return FLOORS.get(environment.floor, ())


def background_phrases(environment: Environment) -> tuple[str, ...]:
    """Phrases for the background; empty where there is none."""
    if environment.background == "wall":
        return WALLS.get(environment.wall, ())
    return BACKGROUNDS.get(environment.background, ())
