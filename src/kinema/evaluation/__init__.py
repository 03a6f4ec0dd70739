"""Automatic evaluation of text-to-video models on prompts of the simulator's lab domain.

`track_objects` turns a video into object tracks by colour segmentation. `score_video` compares the tracks
with the prompt. `scorecard` aggregates the scores of many videos into rates with confidence intervals.
"""
