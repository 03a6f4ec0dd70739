"""Every threshold of the judge, in one place. Chosen on simulator clips of the training split, then frozen.

Lengths are in radii of the thing concerned unless they say otherwise, so they hold at any size of film.
"""

from __future__ import annotations

MIN_CORRECT_FRAME_SHARE = 0.9
"""Share of judged frames in which a statement must hold."""
MIN_FRAMES = 3
"""Frames that a statement needs to be judged at all."""
SHAPE_WINDOW = 3
"""Frames to either side whose evidence for a shape is added up."""

MIN_SHAPE_LOG_ODDS = 0.7
"""Log odds of the best shape against the second, over the window, below which none is named: two to one."""

MIN_TRAVEL = 0.9
"""A thing that is to move must travel this far, so that a frozen film never wins. On the floor this is in
radii of the mean thing, so it is one radius of the smallest."""
MAX_ANGLE = 45.0
"""Degrees between the way asked for and the way gone."""

MAX_REST_DRIFT = 0.3
"""What is to stay may stray this far."""
MIN_RESPONSE = 0.25
"""What is hit moves at least this far, ..."""
MIN_DEFLECTION = 0.3
"""... or what hits it loses or turns at least this share of its velocity."""
MOTION_ONSET = 0.08
"""What moves has begun to when it is this far from its place, about a pixel at 128."""
MAX_CONTACT_GAP = 0.1
"""Gap at which two things touch; a pixel of blur is allowed for besides."""
MIN_VISIBLE_AREA = 0.75
"""Share of its area below which a thing next to another one is too much hidden to say where it is."""

MAX_AREA_JUMP = 1.35
"""Ratio of corrected areas between neighbouring spans of a film that no motion explains."""
MAX_HUE_CHANGE = 12.0
"""Degrees of hue by which a thing may change: half the distance of the nearest two hues."""
OCCLUSION_AREA_RATIO = 0.8
"""Share of its size to which a thing falls before it is hidden; one that vanishes whole is not hidden."""
MAX_OCCLUDER_DISTANCE = 1.3
"""How near the place where a thing appears or disappears must be to what hides it, beyond touching."""

MAX_STATIC_CAMERA_RESIDUAL = 0.6
"""Pixels at 128 by which things may stray on screen while the camera counts as still."""

MAX_DECELERATION_RESIDUAL = 0.12
"""Radii by which a roll may stray from a steady slowing down."""
GRAVITY_RANGE = (5.0, 16.0)
"""Metres per second squared between which a fall is one: the fit has a handful of frames."""
HIGH_BOUNCE_RANGE = (0.27, 1.0)
LOW_BOUNCE_RANGE = (0.05, 0.30)
NO_BOUNCE_RANGE = (-0.05, 0.08)
"""Height of the first bounce over the height fallen, for the three words there are for it."""

MAX_COLOUR_DIFFERENCE = 12.0
"""CIE 1976 difference up to which a colour is the same: shading varies by 6 along a roll."""
MAX_SIZE_RATIO = 1.5
"""Ratio of areas up to which a size is the same; coming nearer by a quarter makes 1.6."""
MIN_FALL_STEPS = 3
"""Steps of free fall from which gravity is fitted."""
