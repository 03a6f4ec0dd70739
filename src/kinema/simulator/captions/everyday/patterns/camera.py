"""The camera moves with respect to a thing at rest. The package describes the notation."""

from __future__ import annotations

MAINS: dict[str, str] = {
    "camera zooms in": """
zoom in on {A}
*zoom in on {A}
*a zoom in on {A}
*a slow zoom in on {A}
*zoom-in on {A.bare}
*zooming in on {A}
*slowly zooming in on {A}
*a zoom shot of {A}, getting tighter
*a zoom onto {A}
we zoom in on {A}
we slowly zoom in on {A}
we zoom in until {A} fills more of the picture
the camera zooms in on {A}
the camera slowly zooms in on {A}
the lens zooms in on {A}
the view zooms in on {A}
the picture zooms in on {A}
the shot zooms in to {A}
zoom towards {A}
zoom in to {A}, please
zoom the camera in on {A}
can you zoom in on {A}
could you zoom in on {A}
I want to zoom in on {A}
let the camera zoom in on {A}
{A} gets larger as we zoom in
{A} becomes larger in the picture because we zoom in
{A} gets bigger and bigger while we zoom in
*{A}, zoomed in on
*{A}, and we zoom in on it
*{A} while the camera zooms in on it
*{A} with a zoom in
*{A.bare}, zoom in
there is {A}; zoom in on it
here is {A}. Zoom in.
start wide, then zoom in on {A}
start wide on {A} and zoom in
tighten the shot on {A}
""",
    "camera zooms out": """
zoom out from {A}
*zoom out from {A}
*a zoom out from {A}
*a slow zoom out from {A}
*zooming out from {A}
*slowly zooming out from {A}
*zoom-out from {A.bare}
*a zoom shot of {A}, getting wider
we zoom out from {A}
we slowly zoom out from {A}
we zoom out until {A} is small
the camera zooms out from {A}
the camera slowly zooms out from {A}
the lens zooms out from {A}
the view zooms out and {A} looks smaller
the picture zooms out from {A}
the shot zooms out from {A}
zoom the camera out from {A}
can you zoom out from {A}
could you zoom out from {A}
I want to zoom out from {A}
let the camera zoom out from {A}
{A} gets smaller as we zoom out
{A} becomes smaller in the picture because we zoom out
{A} gets smaller and smaller while we zoom out
*{A}, and we zoom out from it
*{A} while the camera zooms out
*{A} with a zoom out
*{A.bare}, zoom out
there is {A}; zoom out
here is {A}. Zoom out.
start tight, then zoom out from {A}
start close on {A} and zoom out
widen the shot of {A}
""",
    "camera approaches": """
the camera moves toward {A}
the camera moves closer to {A}
the camera comes closer to {A}
the camera approaches {A}
the camera slowly approaches {A}
the camera glides toward {A}
the camera travels toward {A}
the camera rolls up to {A}
the camera pushes in on {A}
the camera pushes in toward {A}
the camera dollies in on {A}
the camera goes nearer to {A}
the camera gets closer to {A}
the camera is moving toward {A}
the camera advances on {A}
we move toward {A}
we move closer to {A}
we approach {A}
we slowly approach {A}
we get closer to {A}
we come nearer to {A}
we walk up to {A}
we push in on {A}
we dolly in on {A}
*a push in on {A}
*a slow push in on {A}
*a dolly in toward {A}
*a dolly shot toward {A}
*a tracking shot toward {A}
*push in on {A.bare}
*dolly toward {A}
*approaching {A}
*slowly approaching {A}
*pushing in on {A}
*moving in on {A}
*getting closer to {A}
*coming closer to {A}
push in on {A}
dolly in on {A}
move in on {A}
move the camera toward {A}
bring the camera closer to {A}
let the camera approach {A}
can you move the camera toward {A}
could the camera come closer to {A}
I want the camera to approach {A}
{A} is approached by the camera
*{A}, and the camera comes closer to it
*{A}, with the camera moving toward it
*{A} while the camera approaches it
*{A} as we come closer
*{A.bare}, camera approaches
there is {A}, and we go up to it
""",
    "camera withdraws": """
the camera moves away from {A}
the camera moves back from {A}
the camera pulls back from {A}
the camera pulls away from {A}
the camera slowly pulls back from {A}
the camera backs away from {A}
the camera retreats from {A}
the camera glides away from {A}
the camera travels back from {A}
the camera dollies out from {A}
the camera withdraws from {A}
the camera gets farther from {A}
the camera is moving away from {A}
the camera leaves {A} behind
we move away from {A}
we move back from {A}
we pull back from {A}
we slowly pull back from {A}
we back away from {A}
we get farther away from {A}
we walk backwards from {A}
we dolly out from {A}
*a pull back from {A}
*a slow pull back from {A}
*a dolly out from {A}
*a dolly shot away from {A}
*pull back from {A.bare}
*dolly away from {A}
*pulling back from {A}
*backing away from {A}
*moving back from {A}
*getting farther from {A}
pull back from {A}
dolly out from {A}
back away from {A}
move the camera away from {A}
take the camera back from {A}
let the camera pull back from {A}
can you move the camera away from {A}
could the camera back away from {A}
I want the camera to pull back from {A}
*{A}, and the camera pulls back from it
*{A}, with the camera moving away from it
*{A} while the camera backs away
*{A} as we move back
*{A.bare}, camera pulls back
there is {A}, and we step back from it
""",
    "camera circles": """
the camera circles {A} {dir}
the camera circles around {A} {dir}
the camera orbits {A} {dir}
the camera orbits around {A} {dir}
the camera slowly orbits {A} {dir}
the camera moves around {A} {dir}
the camera travels around {A} {dir}
the camera swings around {A} {dir}
the camera arcs around {A} {dir}
the camera flies around {A} {dir}
the camera revolves around {A} {dir}
the camera is circling {A} {dir}
we circle {A} {dir}
we circle around {A} {dir}
we orbit {A} {dir}
we move around {A} {dir}
we walk around {A} {dir}
we go round {A} {dir}
*an orbit around {A} {dir}
*an orbit shot of {A}, {dir}
*an arc shot around {A} {dir}
*a circling shot around {A} {dir}
*orbiting {A} {dir}
*circling {A} {dir}
*circling around {A} {dir}
*moving around {A} {dir}
orbit {A} {dir}
circle {A} {dir}
move the camera around {A} {dir}
let the camera circle {A} {dir}
can you circle around {A} {dir}
could the camera orbit {A} {dir}
I want the camera to circle {A} {dir}
*{A}, and the camera circles it {dir}
*{A}, with the camera orbiting it {dir}
*{A} while the camera circles around it {dir}
*{A.bare}, camera orbits {dir}
{A} is circled by the camera {dir}
there is {A}, and we go around it {dir}
""",
    "camera pans": """
the camera pans {dir} and {A} is in the picture
the camera pans {dir} over {A}
the camera pans {dir} past {A}
the camera pans {dir} across {A}
the camera turns {dir} while {A} stands there
the camera swings {dir} and we see {A}
we pan {dir} across {A}
we pan {dir} past {A}
we look {dir} and see {A}
*a pan {dir} across {A}
*a pan {dir} over {A}
*a pan {dir} with {A}
*panning {dir} across {A}
*panning {dir} past {A}
pan {dir} across {A}
pan {dir} over {A}
pan the camera {dir} across {A}
let the camera pan {dir} over {A}
can you pan {dir} across {A}
I want the camera to pan {dir} over {A}
*{A}, and the camera pans {dir}
*{A}, with the camera panning {dir}
*{A} while the camera pans {dir}
*{A.bare}, camera pans {dir}
there is {A}, and the camera pans {dir}
""",
}
