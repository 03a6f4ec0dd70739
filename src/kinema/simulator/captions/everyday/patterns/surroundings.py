"""What is added to a sentence: outcomes, frames, camera moves and places."""

from __future__ import annotations

ENDINGS: dict[str, str] = {
    "tips over": """
 and {B.noun} {tip.s.B}
, and {B.noun} {tip.s.B}
, so {B.noun} {tip.s.B}
. {B.noun} {tip.s.B}.
, making {B.noun} fall over
; as a result {B.noun} {tip.s.B}
 and knocks {B.it} over
""",
    "pushed": """
 and {B.noun} moves {pdir}
, and {B.noun} is pushed {pdir}
, so {B.noun} moves {pdir}
. {B.noun} is shoved {pdir}.
, pushing {B.it} {pdir}
; {B.noun} goes {pdir}
""",
    "stays": """
 but {B.noun} {still.B}
, and {B.noun} {still.B}
. {B.noun} {still.B}.
, yet {B.noun} {still.B}
, without moving {B.it}
""",
    "bounces back": """
 and {rebound.s.A}
, then {A.noun} {rebound.s.A}
. {A.noun} {rebound.s.A}.
; {A.noun} {rebound.s.A}
, and after that {A.noun} {rebound.s.A}
""",
    "stops": """
 and {stop.s.A}
, then {A.noun} {stop.s.A}
. {A.noun} {stop.s.A}.
; there {A.noun} {stop.s.A}
""",
    "third tips over": """
 and {C.noun} {tip.s.C}
, so {C.noun} {tip.s.C}
. {C.noun} {tip.s.C}.
""",
    "third pushed": """
 and {C.noun} moves {cdir}
, so {C.noun} is pushed {cdir}
. {C.noun} is pushed {cdir}.
""",
}

FRAMES = """
{S}
{S}
{S}
{S}
{S}
{S}
{S}
{S}
{S}
{S}
*a video of {N}
*a clip of {N}
*a short film of {N}
*footage of {N}
*an animation of {N}
*video: {N}
*show me {N}
*film {N}
*render {N}
*please show {N}
*I want {N}
*give me {N}
*generate {N}
*a 3D animation of {N}
*picture {N}
*imagine {N}
*scene with {N}
*could I get a clip of {N}
*how about {N}
*a simple scene: {N}
*a movie of {N}
*close your eyes and see {N}
*shot of {N}
a clip in which {S}
in this video {S}
a short film where {S}
an animation: {S}
scene: {S}
please make it so that {S}
I want a scene where {S}
a video where {S}
show how {S}
look, {S}
we see how {S}
the video shows this: {S}
the following happens: {S}
imagine this: {S}
shot 1: {S}
action! {S}
okay so {S}
make a video: {S}
what happens: {S}
I'd like to see this: {S}
storyboard: {S}
simulation: {S}
*a video with {N}
*video with {N}
*clip with {N}
*a scene of {N}
*make a video of {N}
*make a clip with {N}
*create a video of {N}
*create {N}
*produce a clip of {N}
*can you generate {N}
*can you make a video of {N}
*could you make a clip of {N}
*I need a video of {N}
*I need {N}
*I'd like to see {N}
*I would like a video of {N}
*let me see {N}
*now show {N}
*we want {N}
*my idea is {N}
*prompt: {N}
*subject: {N}
*title: {N}
*a shot showing {N}
*a recording of {N}
*a sequence with {N}
*a few seconds of {N}
*something like {N}
*the scene shows {N}
*this is {N}
*on screen: {N}
*render a video of {N}
*animate {N}
*simulate {N}
*visualize {N}
a video in which {S}
a scene in which {S}
a clip where {S}
a shot where {S}
a recording in which {S}
an animation where {S}
make a clip where {S}
create a video in which {S}
can you make a video where {S}
could you show how {S}
I need a clip in which {S}
I would like to see how {S}
let me see how {S}
the idea: {S}
prompt: {S}
scene 1: {S}
action: {S}
in the scene, {S}
in this clip {S}
on screen {S}
here {S}
this time {S}
one thing happens: {S}
it goes like this: {S}
you can see how {S}
watch: {S}
the plot: {S}
my idea: {S}
an experiment: {S}
physics demo: {S}
"""

CAMERA_TAILS = """
{S}, {label}
{S}, {clause}
{S} while {clause}
{S} as {clause}
{label}: {S}
{S}; {clause}
{S} ({label})
{clause} as {S}
{label}, {S}
{S}. {clause}.
{S} - {label}
{S}, and {clause}
{clause}. {S}
while {clause}, {S}
camera: {label}. {S}
{S}. Camera: {label}
[{label}] {S}
{S}, filmed with a {label}
{S} - {clause}
{S}, while {clause}
{S} + {label}
{S} / {label}
{S}. {label}.
{label} - {S}
camera movement: {label}; {S}
{S}; camera: {label}
{S}. In this shot {clause}.
{S}. Meanwhile {clause}.
in this shot {clause}. {S}
{S}, and all the while {clause}
{S}. The camera: {label}
{label}. {S}
({label}) {S}
{S} [{label}]
{S} | {label}
{S}, shot with a {label}
{S}, seen in a {label}
a {label}: {S}
a {label} of this: {S}
at the same time {clause}: {S}
{S}, at the same time {clause}
{S}. At the same time {clause}.
{S}, with {label}
during the clip {clause}; {S}
{S}. During the clip {clause}.
"""

PLACE_TAILS = """
{S} {place}
{S}, {place}
{place}, {S}
{S}. It happens {place}.
{place}: {S}
{S} ({place})
{S} - {place}
the place: {place}. {S}
"""
