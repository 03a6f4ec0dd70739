"""A thing does not reach or touch another. The package describes the notation."""

from __future__ import annotations

MAINS: dict[str, str] = {
    "misses": """
{A} {go.s} {dir?} and {miss.s} {B}
{A} {go.s} past {B} without touching it
{A} {go.s} {speed?} {dir?} past {B} without hitting it
{A} does not hit {B}, it {go.s} past
{A} {miss.s} {B}
*{A.bare} {go.ing} past {B.bare}, no contact
{A} {go.s} {dir?} but doesn't touch {B}
{B} is not hit by {A} that {go.s.A} {dir?}
{A} {go.s} past {B} and they never touch
{A} {miss.s} {B} completely
{go.ing} {dir?}, {A} {miss.s} {B}
without hitting {B}, {A} {go.s.A} {dir?}
{A} {go.s} {dir?} and leaves {B} alone
{A} {go.s} by and {B} stays untouched
have {A} {go.base} past {B} without a collision
{A} avoids {B} and {go.s} {dir?}
{A} {go.s} by, no crash with {B}
{A} fails to touch {B}
a close call: {A} {go.s} past {B}
almost a crash, but {A} {miss.s} {B}
{A} and {B} do not collide, {A.noun} {go.s.A} past
no collision: {A} {go.s} past {B}
{A} {go.s} on without hitting {B}
{A} {go.s} by {B} and does not touch it
*no contact between {A} and {B}, {A.noun} just {go.s.A} past
{A} passes {B}
{A} passes by {B} without a touch
{A} just passes {B}
*{A.bare} passing {B.bare} without contact
*a miss: {A} and {B}
*{A.bare} that {miss.s} {B.bare}
{A} has a clear way past {B}
{B} is passed by {A}
{B} is left alone by {A}, which {go.s.A} past
{B} is missed by {A}
{B} is lucky: {A} {miss.s.A} it
{A} is not on a line with {B} and {go.s} past it
nothing touches {B}: {A} {go.s.A} past
{A} comes near {B} but never touches it
{A} could {hit.base} {B} but {miss.s} it
can you let {A} {go.base} past {B} without a hit
make {A} {miss.base} {B}
{A} {go.s} {dir?}. It {miss.s} {B}.
the two never meet: {A} and {B}, {A.noun} {go.s.A} past
{A} doesn't get in touch with {B} when it {go.s} past
{A} steers clear of {B}
{A} continues past {B}, no bump
there is room between {A} and {B} as {A.noun} {go.s.A} by
instead of hitting {B}, {A} {go.s.A} by
{A} {go.s} {dir?} and does not hit {B}
{A} {go.s} {dir?} and doesn't hit {B}
{A} {go.s} by {B} but they don't touch
{A} {go.s} past {B}, not hitting it
{A} {go.s} {dir?}, passing {B} without contact
{A} {go.s} {dir?} and passes {B} by
{A} goes by {B} at a distance
{A} goes wide of {B}
{A} just {miss.s} {B}
{A} only just {miss.s} {B}
{A} barely {miss.s} {B}
{A} narrowly {miss.s} {B}
{A} nearly {hit.s} {B} but {miss.s}
{A} almost {hit.s} {B}, but not quite
{A} seems about to {hit.base} {B} but {go.s} past
{A} is going to {hit.base} {B}? No, it {miss.s}.
{A} does not collide with {B}
{A} doesn't collide with {B}, it {go.s} past it
{A} never touches {B} as it {go.s} past
{A} never hits {B}
{A} keeps clear of {B}
{A} keeps its distance from {B} as it {go.s} by
{A} leaves {B} untouched and {go.s} on
{A} leaves {B} in peace and {go.s} on {dir?}
{A} {go.s} by, leaving {B} untouched
{A} {go.s} by, leaving {B} where it is, without any contact
{B} isn't hit by {A}
{B} isn't touched by {A}, which {go.s.A} past
{B} doesn't get hit, {A} {go.s.A} past it
{B} does not get hit by {A}
{B} escapes: {A} {go.s.A} past
{B} stays where it is because {A} {miss.s.A} it
{B} stays put and untouched while {A} {go.s.A} by
*{A} {go.ing} past {B} without touching it
*{A} {go.ing} {dir?}, missing {B}
*{A.bare} not hitting {B.bare}
*{A.bare} rolling by {B.bare}, missing it
*a near miss: {A.bare} and {B.bare}
*a collision that doesn't happen between {A} and {B}
they don't collide: {A} {go.s.A} past {B}
they do not touch, {A} {go.s.A} past {B}
there is no impact, {A} {go.s.A} past {B}
there's no collision between {A} and {B}
no hit: {A} {go.s} past {B}
no bump, no crash: {A} {go.s} by {B}
let {A} {miss.base} {B}
let {A} {go.base} by {B} so that they don't touch
I want {A} to {miss.base} {B}
I want {A} to {go.base} past {B} without a crash
{A} {go.s} next to {B} and on, without contact
beside {B}, {A} {go.s.A} {dir?} without contact
{A} aims past {B}
{A} {go.s} {dir?} on a path that {miss.s} {B}

""",
    "stops short": """
{A} {go.s} {dir?} and stops before it reaches {B}
{A} {go.s} toward {B} but doesn't reach it
{A} stops short of {B}
{A} {go.s} {dir?} but stops before hitting {B}
{A} {go.s} up to {B} and stops without touching it
*{A.bare} {go.ing} toward {B.bare}, stopping before contact
{A} never gets to {B}, it {stop.s} first
{A} comes to rest before {B}
{B} is not reached by {A}
{A} is on its way to {B} but {stop.s} too early
{A} doesn't make it to {B}
{A} {go.s} {dir?}, then {stop.s} before hitting {B}
{A} almost reaches {B} but {stop.s}
{A} {go.s} {dir?} and {stop.s} with {B} still ahead
{A} ends its way before {B}
{A} does not get as far as {B}
{A} runs out of speed before {B}
{A} comes to a halt ahead of {B}
{A} {go.s} {dir?}. It {stop.s} before it can touch {B}.
{B} stays untouched since {A} {stop.s.A} first
there's a gap left between {A} and {B} when {A.noun} {stop.s.A}
*{A.bare} that {stop.s} before {B.bare}
*{A.bare} coming to rest before {B.bare}
{A} wants to {hit.base} {B} but {stop.s} before
{A} approaches {B} and stops in time
{A} nears {B}, but it {stop.s} before contact
just in time {A} {stop.s} before {B}
{A} is too slow to reach {B}
{A} loses its speed before it gets to {B}
can you make {A} {stop.base} before it touches {B}
{A} and {B} don't touch because {A.noun} {stop.s.A}
{A} brakes before {B}
the way to {B} is too long for {A}
{A} {go.s} toward {B} and stops before it gets there
{A} {go.s} toward {B}, stopping short of it
{A} {go.s} toward {B}, but not far enough
{A} {go.s} {dir?} and stops just before {B}
{A} {go.s} {dir?} and comes to rest before {B}
{A} stops in front of {B} without a touch
{A} stops on its way to {B}
{A} stops before it can hit {B}
{A} stops before it would hit {B}
{A} does not reach {B}
{A} doesn't reach {B}
{A} never reaches {B}
{A} can't reach {B}
{A} gives up before {B}
{A} gets near {B}, then it {stop.s}
{A} gets close to {B} but {stop.s}
{A} gets slower and {stop.s} before {B}
{A} slows down and {stop.s} before {B}
{A} falls short of {B}
{A} comes close to {B} and {stop.s} without a hit
nearly at {B}, {A} {stop.s}
close to {B}, {A} {stop.s}
before {B} {A} {stop.s.A}
*{A} stopping short of {B}
*{A.bare} not reaching {B.bare}
let {A} stop before {B}
I want {A} to stop before it reaches {B}
""",
}
