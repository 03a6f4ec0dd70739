"""The judge: the known faults of text-to-video, measured from pixels by classical vision.

`parse` turns a film of the lab into tracks; the measures turn tracks and the meaning of a prompt into
verdicts; `scorecard` gathers them with intervals and anchors. Nothing here knows what made a film.
"""
