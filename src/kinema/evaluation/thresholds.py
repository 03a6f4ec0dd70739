"""Every threshold of the evaluator. They were chosen on simulator clips of the training split and then
frozen.

Lengths are in radii of the object unless stated otherwise, so that they hold at every video size.
"""

from __future__ import annotations

MIN_CORRECT_FRAME_SHARE = 0.9
"""Share of the scored frames in which a property must hold."""
MIN_FRAMES = 3
"""Frames in which an object must be visible for a property to be scored."""
SHAPE_WINDOW = 3
"""Frames on either side whose shape evidence is summed."""

MIN_SHAPE_LOG_ODDS = 0.7
"""Smallest log odds of the best shape against the second best, summed over the window: two to one."""

MIN_TRAVEL = 0.9
"""Smallest displacement that counts as motion, so that a frozen video never passes. On the floor the unit is
the mean object radius, and 0.9 of it is one radius of the smallest object."""
MAX_ANGLE = 45.0
"""Degrees between the requested and the measured direction."""

MIN_RESPONSE = 0.25
"""Smallest displacement of an object that was hit."""
MIN_DEFLECTION = 0.3
"""Smallest relative change of velocity of an object that hit another one."""
MOTION_ONSET = 0.08
"""Displacement at which a motion counts as begun, about one pixel at 128."""
MAX_CONTACT_GAP = 0.1
"""Gap up to which two objects touch; one pixel of blur is allowed in addition."""
MIN_VISIBLE_AREA = 0.75
"""Share of its area below which an object next to another one is too occluded to locate."""

MAX_AREA_JUMP = 1.35
"""Largest ratio of areas in neighbouring frames, relative to the trend."""
MAX_HUE_CHANGE = 12.0
"""Largest change of hue in degrees: half the distance of the two nearest palette hues."""
OCCLUSION_AREA_RATIO = 0.8
"""Share of its area to which an object shrinks before it is occluded. One that disappears at full size was
not occluded."""
MAX_OCCLUDER_DISTANCE = 1.3
"""Largest distance between an occluder and the position where an object appears or disappears."""

MAX_STATIC_CAMERA_RESIDUAL = 0.6
"""Reprojection error in pixels at 128 up to which the camera counts as static."""

MAX_DECELERATION_RESIDUAL = 0.12
"""Largest residual of a roll from uniform deceleration."""
GRAVITY_RANGE = (5.0, 16.0)
"""Accepted gravity in m/s². The range is wide because the fit has only a few frames."""
HIGH_BOUNCE_RANGE = (0.27, 1.0)
LOW_BOUNCE_RANGE = (0.05, 0.30)
NO_BOUNCE_RANGE = (-0.05, 0.08)
"""Height of the first bounce over the height of the fall, for the three outcomes of a prompt."""
MIN_FALL_STEPS = 3
"""Frames of free fall from which gravity is fitted."""

MAX_COLOUR_DIFFERENCE = 12.0
"""CIE 1976 colour difference up to which a colour is unchanged. Shading varies it by 6 along a roll."""
MAX_SIZE_RATIO = 1.5
"""Ratio of areas up to which a size is unchanged. An object a quarter nearer has a ratio of 1.6."""
