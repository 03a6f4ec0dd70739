"""Things stand still. The package describes the notation."""

from __future__ import annotations

MAINS: dict[str, str] = {
    "stands still": """
{A} {still}
*{A.bare}, not moving
{A} stands on the floor
{A.the} {still}
nothing happens, {A} {still}
*{A} with no motion at all
a quiet scene: {A} {still}
{A} is simply there and {still}
*{A.bare} at rest
look at {A}, it {still}
{A} {still} for the whole clip
{A} does nothing
{A} just stands around
{A}, perfectly still
{A} is there, doing nothing
{A} stays where it is
{A} keeps still
{A} rests
{A} is at rest
{A} waits
{A} waits and nothing happens
{A} doesn't do anything
{A} doesn't go anywhere
{A} won't move
{A} is not in motion
{A} isn't moving
{A} sits on the floor and nothing happens
{A} lies there
*{A.bare} resting on the floor
*{A.bare} that {still}
*{A.bare} doing nothing
*{A.bare} without any motion
a still: {A}
no motion, just {A}
nothing moves, we only see {A}
nothing happens to {A}
nothing at all happens, {A} {still}
can you show {A} at rest
let {A} stand there
object: {A.bare}; motion: none
{A}: no motion
like a photo: {A} {still}
as if frozen, {A} {still}
from start to end {A} {still}
{A} remains where it is
{A} remains in its place
{A} keeps its place
for the whole video {A} {still}
{A} is motionless
{A} lies there without moving
{A} just waits there
{A} has stopped moving
nothing moves {A}
not a thing happens: {A} stands there
{A} is there and does nothing
{A} does not do a thing

""",
    "two stand still": """
{A} and {B} stand still
nothing moves: {A} and {B}
{A} and {B}, neither of them moves
*{A.bare} and {B.bare} at rest
{A} and {B} just stand there
{A} {still}, and so does {B}
{A} and {B} at rest
{A} and {B} rest on the floor
{A} and {B} don't move
neither {A} nor {B} moves
both {A} and {B} keep still
nothing happens to {A} and {B}
{A} and {B} stay where they are
objects: {A.bare}, {B.bare}; motion: none
""",
    "group stands": """
{G}
*{G.bare}
there are {G}
{G} on the ground
{G} {stay.s}
*{G}, nothing more
{G} {is} there and nothing moves
show me {G}
*exactly {G}
{G}, not moving
I want to see {G}
a picture with {G} in it
{G} standing around
on the floor there are {G}
we count {G}
count them: {G}
{G} are standing there
{G} next to each other
there are {G} to be seen
{G} have been put there
just {G}
*{G.bare} on the floor
*{G.bare}, all at rest
here are {G}
you can see {G}
{G} can be seen
there you see {G}
we see {G} and they do not move
*a still picture of {G}
give me {G}
put {G} on the floor
place {G} next to one another
*{G}, all in view
*{G} and that is everything
number of things: {G}
in the picture there are {G}
*only {G}, no motion
*{G} waiting
*the floor with {G} on it
can I have {G}
there should be {G}
{G} have their place on the floor
all still: {G}
{G} in the scene
{G} in the picture
*a group of {G}
{G} at rest
{G} standing still
{G} standing there
{G} stand there
{G} stand on the floor
{G} lying there
{G} side by side
{G} beside each other
{G} in one place
you see {G}
you'll see {G}
I see {G}
I want {G}
add {G}
let there be {G}
show {G} at rest
nothing else than {G}
a scene with {G}
the floor, and on it {G}
""",
}
