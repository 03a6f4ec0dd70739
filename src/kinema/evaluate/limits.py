"""Every threshold of the judge, in one place. Chosen on simulator clips of the training split, then frozen.

Lengths are in radii of the thing concerned unless they say otherwise, so they hold at any size of film.
"""

from __future__ import annotations

FRAMES_RIGHT = 0.9
"""Share of judged frames in which a statement must hold."""
LEAST_FRAMES = 3
"""Frames that a statement needs to be judged at all."""
WINDOW = 3
"""Frames to either side whose evidence for a shape is added up."""

UNDECIDED = 0.7
"""Log odds of the best shape against the second, over the window, below which none is named: two to one."""

TRAVEL = 0.9
"""A thing that is to move must travel this far, so that a frozen film never wins. On the floor this is in
radii of the mean thing, so it is one radius of the smallest."""
ANGLE = 45.0
"""Degrees between the way asked for and the way gone."""

STAYS = 0.3
"""What is to stay may stray this far."""
RESPONDS = 0.25
"""What is hit moves at least this far, ..."""
DEFLECTS = 0.3
"""... or what hits it loses or turns at least this share of its velocity."""
ONSET = 0.08
"""What moves has begun to when it is this far from its place, about a pixel at 128."""
CONTACT = 0.1
"""Gap at which two things touch; a pixel of blur is allowed for besides."""
COVERED = 0.75
"""Share of its area below which a thing next to another one is too much hidden to say where it is."""

RESIZE = 1.35
"""Ratio of corrected areas between neighbouring spans of a film that no motion explains."""
RECOLOUR = 12.0
"""Degrees of hue by which a thing may change: half the distance of the nearest two hues."""
SHRINKS = 0.8
"""Share of its size to which a thing falls before it is hidden; one that vanishes whole is not hidden."""
NEARBY = 1.3
"""How near the place where a thing appears or disappears must be to what hides it, beyond touching."""

CAMERA_STILL = 0.6
"""Pixels at 128 by which things may stray on screen while the camera counts as still."""

UNEVEN = 0.12
"""Radii by which a roll may stray from a steady slowing down."""
GRAVITY = (5.0, 16.0)
"""Metres per second squared between which a fall is one: the fit has a handful of frames."""
BOUNCE_HIGH = (0.27, 1.0)
BOUNCE_LITTLE = (0.05, 0.30)
BOUNCE_NONE = (-0.05, 0.08)
"""Height of the first bounce over the height fallen, for the three words there are for it."""

SAME_COLOUR = 12.0
"""CIE 1976 difference up to which a colour is the same: shading varies by 6 along a roll."""
SAME_SIZE = 1.5
"""Ratio of areas up to which a size is the same; coming nearer by a quarter makes 1.6."""
LEAST_FALL = 3
"""Steps of free fall from which gravity is fitted."""
