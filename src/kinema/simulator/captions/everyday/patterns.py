"""Sentence patterns of each situation.

`MAINS` has the sentences of each situation (`situations`), `ENDINGS` clauses that add an outcome. `FRAMES`
surround a sentence, and `CAMERA_TAILS` and `PLACE_TAILS` add the camera move and the environment. Each line
is one pattern. Its hash decides whether it is held out of training (`split.is_pattern_held_out`).

Slots: {A} {B} {C} {G} are noun phrases; `.the` with the definite article, `.bare` without any, `.noun` the
short form of a second mention ('the ball'), `.it` a pronoun. {go.s} is a verb of the situation, {hit.s} one
of that sense; forms `s` (agrees), `base`, `ing`, `ed` (participle), `past`; `{hit.s.B}` agrees with B. {is}
{was} {has} agree with A, {is.B} with B. {dir} {side} {turn} {speed} {pdir} {n} {end} {rel} {height} are
values; `{dir?}` is left out at random, and where the facts have none. A `*` before a line marks a noun
phrase, not a clause.
"""

from __future__ import annotations

MAINS: dict[str, str] = {
    "moves": """
{A} {go.s} {dir}
{A} {is} {go.ing} {dir}
*{A.bare} {go.ing} {dir}
*{A.bare}, {go.ing} {dir}
watch {A} {go.base} {dir}
{A} starts on one side and {go.s} {dir}
there goes {A}, {go.ing} {dir}
{A.the} {go.s} {speed} {dir}
{A} {speed} {go.s} {dir}
{A} {go.s} {dir} {speed}
{go.ing} {dir}: {A}
see {A} {go.base} {dir} {speed?}
*{A} that {go.s} {dir} {speed?}
*{A.bare} {go.ing}, direction: {dir}
across the floor {go.s} {A}, {dir}
{A} gets going and {go.s} {dir}
it's {A} that {go.s} {dir}
{A} gets on its way and {go.s} {dir}
have {A} {go.base} {dir} {speed?}
could you make {A} {go.base} {dir}
make {A} {go.base} {dir} {speed?}
let {A} {go.base} {dir}
{A} went {go.ing} {dir}
{A} {go.past} {dir}
{A} is seen {go.ing} {dir} {speed?}
{dir} {go.s} {A}
moving {dir}: {A}
I'd like {A} to {go.base} {dir}
we follow {A} as it {go.s} {dir}
*{A.bare} on the move {dir} {speed?}
{A}. It {go.s} {dir} {speed?}
here comes {A}, {go.ing} {dir}
{A} on the floor, it {go.s} {dir}
{A} begins its way and {go.s} {dir}
{A}, always {go.ing} {dir}
the way of {A} leads {dir}
{A} can be watched {go.ing} {dir}
now {A} {go.s} {dir}
please let {A} {go.base} {dir}
{A} makes a journey {dir}
{dir}, that's where {A} {go.s.A}
""",
    "moves somewhere": """
{A} {go.s}
{A} {is} {go.ing} {speed?}
*{A.bare} {go.ing}
*{A.bare} {go.ing} {speed}
{A} {go.s} {speed}
{A} begins to {go.base}
{go.ing} {A.bare}
let {A} {go.base}
just {A} {go.ing}
{A} {go.s} and nothing else happens
{A} in motion: it {go.s}
""",
    "moves and stops": """
{A} {go.s} {dir?} and {stop.s}
{A} {go.s} {dir?} and then {stop.s}
{A} {go.s} {speed?} {dir?}, slows down and {stop.s}
*{A.bare} {go.ing} {dir?}, then a stop
{A} {go.s} a little way {dir?} before it {stop.s}
after {go.ing} {dir?} {speed?}, {A} {stop.s}
{A} was {go.ing} {dir?} but then it {stop.s}
{A} runs out of speed and {stop.s}
moving {dir}, {A} slows down and {stop.s}
{A} {go.s} {dir?}. It {stop.s}.
{A} {go.s} {dir?} until it {stop.s}
first {A} {go.s} {dir?}, in the end it {stop.s}
have {A} {go.base} {dir?} and {stop.base}
{A} gets slower and slower and {stop.s}
{A} {stop.s} after {go.ing} {dir?}
{A} {go.s} {dir?} for a moment and comes to a standstill
{A} has stopped after {go.ing} {dir?}
braking, {A} {go.s} {dir?} and {stop.s}
{A} {go.s} {dir?} for a while, and that is where it {stop.s}
{A} ends its way {dir?} and {stop.s}
{A} {go.past} {dir?} and then stood still
{go.ing} {dir?} at first, then at rest: {A}
""",
    "moves and leaves": """
{A} {go.s} {dir} and {leave.s}
{A} {go.s} {dir?} until it is out of sight
{A} {go.s} {speed?} {dir} out of the picture
{A} {leave.s}, {go.ing} {dir}
*{A.bare} {go.ing} {dir} and out of frame
{A} {go.s} {dir?}, then {leave.s}
watch {A} {go.base} {dir?} and {leave.base}
{A} {go.s} {dir?} right out of view
at the end {A} has left the frame, {go.ing} {dir}
""",
    "group moves": """
{G} {go.s} {dir}
{G} {is} {go.ing} {dir}
*{G} {go.ing} {dir} side by side
all together {G} {go.base} {dir}
watch {G} {go.base} {dir}
{dir} {go.s} {G}
*{G.bare} on the move {dir}
{G} {go.s} {dir} at the same pace
make {G} {go.base} {dir}
there are {G} and they {go.base} {dir}
here come {G}, {go.ing} {dir}
{G}, all {go.ing} {dir}
{G} {go.s} {dir} together
{G} {go.s} {dir}, all of them
a group of things on the move {dir}: {G}
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
""",
    "hits": """
{A} {hit.s} {B}
{A} {is} {hit.ing} {B}
{A} {go.s} {dir?} and {hit.s} {B}
{A} {go.s} up to {B} and {hit.s} it
{A.the} {hit.s} {B.the}
*{A.bare} {hit.ing} {B.bare}
watch how {A} {hit.s} {B}
{B} gets in the way and {A} {hit.s.A} it
{A} {go.s} {speed?} {dir?} until it {hit.s} {B}
{A} heads for {B} and {hit.s} it
there is {B}; {A} {hit.s.A} it
{A} and {B}: the first {hit.s} the second
{B} {is.B} hit by {A}
{B} gets hit by {A}
{B} gets struck by {A} that {go.s.A} {dir?}
{B} stands in the path of {A}, which {hit.s.A} it
as {A} {go.s} {dir?}, it {hit.s} {B}
{A} against {B}: an impact
an impact: {A} {hit.s} {B}
{A}, {go.ing} {speed?} {dir?}, {hit.s} {B}
{B} takes a hit from {A}
{go.ing} {dir?}, {A} {hit.s} {B}
*{A.bare} {go.ing} {dir?} and {hit.ing} {B.bare}
{A} comes {go.ing} {speed?} {dir?} and {hit.s} {B}
let {A} {hit.base} {B}
have {A} {go.base} {dir?} and {hit.base} {B}
{A} {hit.past} {B}
{A} {go.past} {dir?} and {hit.past} {B}
{B} is standing there when {A} {hit.s.A} it
*a collision: {A} {hit.ing} {B}
*{A.bare} vs {B.bare}, they collide
*a crash between {A} and {B}
could {A} {hit.base} {B} please
{A} {go.s} straight into {B}
{B} is run into by {A}
boom: {A} {hit.s} {B}
{A} and {B} crash into each other
{A} is on a collision course with {B}, then a crash
{A} aims at {B} and hits it
the target is {B}, and {A} {hit.s.A} it
from the side {A} {hit.s} {B}
{A} meets {B} and they collide
{B} is bumped by {A}
{A} does the hitting, {B} gets hit
{A} hits something: {B}
a crash: {A}, {B}
{B} gets a knock from {A}
{A} comes up {dir?} and bangs against {B}
""",
    "pushes": """
{A} {push.s} {B} {pdir}
{A} {hit.s} {B} and {push.s} it {pdir}
{A} {is} {push.ing} {B} {pdir}
{A} {go.s} {dir?} and {push.s} {B} {pdir}
{B} {is.B} {push.ed} {pdir} by {A}
{B} gets {push.ed} {pdir} by {A}
*{A.bare} {push.ing} {B.bare} {pdir}
watch {A} as it {push.s} {B} {pdir}
{A} {hit.s} {B}, which moves {pdir}
{B} moves {pdir} because {A} {hit.s.A} it
{A} {hit.s} {B} so that it moves {pdir}
let {A} {push.base} {B} {pdir}
it is {A} that {push.s} {B} {pdir}
hit by {A}, {B} moves {pdir}
{A} makes {B} move {pdir}
{A} sets {B} in motion {pdir}
when {A} {hit.s} {B}, {B.noun} moves {pdir}
{B} slides {pdir} after {A} {hit.s.A} it
{B} gets going {pdir} when {A} {hit.s.A} it
{A} bumps {B} away from its place, {pdir}
{B} doesn't stay where it is: {A} {push.s.A} it {pdir}
{A} gives {B} a shove {pdir}
because of {A}, {B} has to move {pdir}
{B} is set in motion {pdir} by a hit from {A}
after the hit by {A}, {B} moves {pdir}
{A} moves {B} {pdir}
""",
    "knocks over": """
{A} {knock over.s} {B}
{A} {is} {knock over.ing} {B}
{A} {go.s} {dir?} {speed?} and {knock over.s} {B}
{B} gets {knock over.ed} by {A}
{B} {is.B} {knock over.ed} by {A}
*{A.bare} {knock over.ing} {B.bare}
{A} {hit.s} {B} and {B.noun} {tip.s.B}
{A} {hit.s} {B} so that it falls over
{A} {hit.s} {B}, which {tip.s.B}
{B} {tip.s.B} when {A} {hit.s.A} it
{B} was upright until {A} {knock over.s.A} it
watch {A} {knock over.base} {B}
{B} loses its balance when {A} {hit.s.A} it
with one blow {A} {knock over.s} {B}
{A.the} {knock over.s} {B.the}, which now lies on its side
have {A} {knock over.base} {B}
{A} {knock over.past} {B}
*{B.bare} {knock over.ed} by {A.bare}
{go.ing} {dir?}, {A} {knock over.s} {B}
{B} falls over because {A} {hit.s.A} it
{B} ends up on its side after {A} {hit.s.A} it
{B} goes down when {A} {hit.s.A} it
{A} {hit.s} {B} hard enough to topple it
hit by {A}, {B} {tip.s.B}
{A} sends {B} to the ground
{B} stands, {A} comes, {B.noun} falls
{A} flattens {B}
{A} {go.s} into {B} and leaves it lying
first {B} is upright, then {A} {hit.s.A} it and it is lying down
have {A} hit {B} so hard that it tips
{B} can't keep standing because {A} {hit.s.A} it
{A} comes {go.ing} and {B} falls over
{A} {hit.s} {B}: it is on the floor now
down goes {B}, hit by {A}
{A} {hit.s} {B} until it lies flat
""",
    "hits, it stays": """
{A} {hit.s} {B}, but {B.noun} {still.B}
{A} {hit.s} {B} and {B.noun} {still.B}
{B} {still.B} although {A} {hit.s.A} it
{A} {go.s} {dir?} and {hit.s} {B}, which {still.B}
{A} {hit.s} {B} without moving it
{A} can't move {B} when it {hit.s} it
{B} is hit by {A} and {still.B}
*{A.bare} {hit.ing} {B.bare}, no effect
{A} {hit.s} {B}. {B.noun} {still.B}.
{B} is too heavy: {A} {hit.s.A} it and it stays
""",
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
""",
    "falls": """
{A} {fall.s}
{A} {is} {fall.ing}
{A} {fall.s} from the sky
{A} {fall.s} onto the floor
{A} {fall.s} to the ground
from high up {A} {fall.s}
*{A.bare} {fall.ing}
{A} {fall.s} and lands on the floor
watch {A} {fall.base} from a height
someone lets go of {A} and it {fall.s}
{fall.ing} from above: {A}
at first {A} hangs in the air, then it {fall.s}
drop {A} from above
drop {A} onto the floor
{A} is dropped
{A} {fall.past} to the floor
gravity pulls {A} down
*{A.bare} dropped from above
{A} comes from above and hits the ground
let {A} {fall.base} to the ground
{A.the} {fall.s} straight down
{A} in the air, then on the floor
oops, {A} {fall.s}
{A} is released in the air and {fall.s}
a fall: {A} comes down
free fall of {A.bare}
somebody drops {A}
{A} hits the floor after a fall
{A} comes loose up there and {fall.s}
{A} gets dropped
the ground stops the fall of {A}
{A} falls until the ground stops it
""",
    "falls, bounces high": """
{A} {fall.s} and {bounce.s} {height}
{A} {fall.s} to the floor and {bounce.s} {height}
{A} {bounce.s} {height} off the floor
{A} is dropped and {bounce.s} {height}
*{A.bare} {bounce.ing} {height}
{A} {is} {bounce.ing} on the floor
{A} {bounce.s} on the floor
{A} hits the ground and {bounce.s} {height}
{A} {fall.s}, then {bounce.s} {height}
drop {A} and let it {bounce.base} {height}
bouncing {A.bare}
how {height} {A} {bounce.s} after it falls
{A} falls and the floor sends it back up
a very bouncy fall: {A} {bounce.s} {height}
{A} {fall.s} and springs right back
{A} hits the floor and flies back up
boing, {A} {bounce.s} {height}
{A} jumps back up after the fall
the floor throws {A} back {height}
{A} is so bouncy that it goes back up {height}
""",
    "falls, bounces a little": """
{A} {fall.s} and {bounce.s} {height}
{A} {fall.s} to the floor and {bounce.s} {height}
{A} is dropped and {bounce.s} only {height}
*{A.bare} {fall.ing} and {bounce.ing} {height}
{A} hits the ground and {bounce.s} {height}
{A} {fall.s}, {bounce.s} {height}
{A} lands with a small bounce
drop {A}, it {bounce.s} {height}
{A} {fall.s}. It {bounce.s} {height}.
""",
    "falls, no bounce": """
{A} {fall.s} and does not bounce
{A} {fall.s} to the floor without bouncing
{A} {fall.s} and stays where it lands
{A} is dropped and doesn't bounce
*{A.bare} {fall.ing}, no bounce
{A} hits the ground with a thud and stays there
{A} {fall.s} like a stone and stays put
without bouncing, {A} lands on the floor
drop {A}, it doesn't bounce at all
{A} {fall.s}; no bouncing
{A} {fall.s} and just lies there
{A} lands and that is it: no bounce
not one bounce: {A} {fall.s} and stays
{A} {fall.s} and is still at once
""",
    "lands on": """
{A} {fall.s} and lands on {B}
{A} {fall.s} onto {B} and stays there
{A} {land.s} on top of {B}
{A} lands on {B}
{A} {is} {fall.ing} onto {B}
*{A.bare} {land.ing} on {B.bare}
drop {A} onto {B}
{A} comes from above and ends up on {B}
in the end {A} is on top of {B}
{B} stands there and {A} lands on it
{B} catches {A} that {fall.s.A}
{A} is dropped on {B} and remains on top of it
on {B} lands {A}
{A} {fall.s} and comes to rest on {B}
{A} {fall.s} and stays sitting on {B}
{A} comes to lie on top of {B}
{A} {fall.s} exactly onto {B} and remains there
""",
    "lands beside": """
{A} {fall.s} and lands next to {B}
{A} {fall.s} onto {B} and ends up beside it
{A} {fall.s} on {B} but does not stay on it
{A} comes off {B} and lands beside it
*{A.bare} {fall.ing} on {B.bare} and off again
{A} comes down on {B} and falls off beside it
in the end {A} lies next to {B}
{A} is dropped on {B} but doesn't stay on top
{B} is hit from above by {A}, which lands beside it
""",
    "falls off": """
{A} {go.s} {dir?} and {fall off.s} {B}
{A} {fall off.s} {B}
{A} {go.s} over the edge of {B} and falls down
*{A.bare} {fall off.ing} {B.bare}
{A} is on {B}, {go.s} {dir?} and falls off
{A} {go.s} along {B} and drops to the floor
{A} goes over the edge
{A} {go.s} off {B}
off {B} falls {A}
{B} ends and {A} falls down
watch {A} {fall off.base} {B}
{A} doesn't stop at the edge of {B}
{A} on {B} {go.s} {dir?} till it drops off the edge
""",
    "stops on": """
{A} {go.s} {dir?} on {B} and {stop.s}
{A} {go.s} across {B} but does not fall off
{A} {stop.s} before the edge of {B}
{A} stays on {B}
*{A.bare} {go.ing} on {B.bare} and stopping
{A} on top of {B} {go.s} {dir?} and {stop.s}
{A} doesn't fall off {B}
on {B}, {A} {go.s} a bit and {stop.s}
{A} comes to rest on {B} without falling off
""",
    "goes down": """
{A} {go.s} down {B} {dir?}
{A} {go.s} {dir?} down {B}
{A} {go down.s} {B}
*{A.bare} {go.ing} down {B.bare}
watch {A} {go.base} down {B}
down {B} {go.s} {A}
{A} starts at the top of {B} and {go.s} down
{B} with {A} {go.ing.A} down it
let {A} {go.base} down {B}
{A} is let go on {B} and {go.s} down {dir?}
{A} gets to the bottom of {B}
{A} {is} {go.ing} downhill on {B}
a downhill ride: {A} on {B}
{A} {go.past} down {B}
""",
    "rests on the ramp": """
{A} rests on {B}
{A} is on {B} and {still}
{A} stays on {B} without sliding down
{A} does not slide down {B}
*{A.bare} lying still on {B.bare}
{A} {still} on {B}
on {B} there is {A} that does not move
{B} with {A} sitting on it
{A} sticks to {B}, nothing moves
{A} on {B}, at rest
""",
    "tower falls": """
{A} {hit.s} {G} and it {collapse.s.G}
{A} knocks down {G}
{A} {go.s} {dir?} and knocks over {G}
{A} {go.s} {speed?} into {G}, which {collapse.s.G}
{G} {collapse.s.G} when {A} {hit.s.A} it
*{A.bare} {hit.ing} {G.bare}, everything falls
{G} is knocked down by {A}
{A} brings down {G}
{A} smashes {G}
{G} gets destroyed by {A}
watch {A} wreck {G}
{A} {hit.s} {G} and everything comes down
down comes {G}, hit by {A}
""",
    "tower partly falls": """
{A} {hit.s} {G} and {n} of the blocks fall
{A} {hit.s} {G}; {n} of them fall down
{A} knocks {n} off {G}
{G} is hit by {A} and loses {n}
{A} {hit.s} {G}, only part of it falls
{A} {go.s} {dir?} into {G} and some of it falls
*{A.bare} {hit.ing} {G.bare}, part of it falls
{A} {hit.s} {G} but not all of it comes down
""",
    "tower stands": """
{A} {hit.s} {G}, but it stays standing
{A} {hit.s} {G} and it does not fall
{G} stands firm although {A} {hit.s.A} it
{A} {go.s} {dir?} into {G}, which doesn't fall over
{G} is hit by {A} and keeps standing
*{A.bare} {hit.ing} {G.bare}, nothing falls
{A} can't knock down {G}
{A} bumps {G} without toppling it
""",
    "tower short": """
{A} {go.s} {dir?} toward {G} but stops before it
{A} does not reach {G}
{G} stays standing because {A} stops short of it
{A} {go.s} {dir?} and stops before hitting {G}
*{A.bare} stopping before {G.bare}
{A} never touches {G}
""",
    "dominoes fall": """
{G} {tip.s.G} one after another
{G} {tip.s.G} one after another from the {end}
{G} topples from the {end}
*{G.bare} toppling
*a chain reaction: {G}
*a chain reaction of {G.bare} starting on the {end}
{G} fall in a chain from the {end}
one by one {G} fall over
each domino knocks over the next: {G}
starting at the {end}, {G} go down one by one
watch {G} fall
all of {G} fall over
push the first one and {G} fall, from the {end}
""",
    "dominoes stop": """
{G} start to fall from the {end?} but the chain stops
{G} topple, but only {n} of them fall
only {n} of {G} fall over
not all of {G} fall
the chain breaks: {n} of {G} fall
a gap stops {G} after {n}
{G} fall from the {end} until the gap is too wide
*{G.bare}, {n} of them falling
""",
    "dominoes stand": """
{G} standing
{G} stand and do not fall
*{G.bare} standing upright
{G}, none of them falls
nobody touches {G}
{G} stand there, nothing moves
*{G}, all still upright
""",
    "bowls all": """
{A} {go.s} into {G} and knocks them all down
{A} {hit.s} {G}, all of them fall
*a strike: {A} against {G}
*{A.bare} knocking down {G.bare}
{A} bowls over {G}
all of {G} fall when {A} {hit.s.A} them
{G} are knocked down by {A}
bowling: {A} {hit.s} {G} and every one falls
{A} {go.s} {dir?} and clears {G}
watch {A} knock down {G}
""",
    "bowls some": """
{A} {go.s} into {G} and knocks down {n}
{A} {hit.s} {G}, {n} of them fall
{A} knocks over {n} of {G}
bowling: {A} {hit.s} {G} but only {n} fall
{n} of {G} fall when {A} {hit.s.A} them
{A} {go.s} {dir?} into {G}, not all of them fall
*{A.bare} hitting {G.bare}, {n} down
""",
    "bowls none": """
{A} {go.s} past {G} without hitting any
{A} misses {G}
{A} {go.s} {dir?} and none of {G} fall
bowling gone wrong: {A} misses {G}
{G} stay standing, {A} {go.s.A} past
*{A.bare} {go.ing} past {G.bare}, no pin falls
{A} doesn't knock down any of {G}
""",
    "behind and out": """
{A} {go.s} {dir?} behind {B} and {emerge.s} {side?}
{A} {hide.s} {B} and {emerge.s} {side?}
{A} {hide.s} {B} and comes out on the other side
{A} {hide.s} {B}, then it is visible again
*{A.bare} {go.ing} behind {B.bare} and out again
for a moment {A} can't be seen: it {hide.s} {B}
{A} {go.s} {dir?}, {hide.s} {B}, {emerge.s} {side}
{B} covers {A} for a moment as it {go.s.A} {dir}
{A} passes behind {B} and keeps {go.ing} {dir}
{B} hides {A} for a while, then it {emerge.s.A}
watch {A} {go.base} behind {B} and come out
behind {B} {go.s.A} {A}, then it shows up {side}
{A} {go.s} {dir} and is hidden by {B} on the way
{A} vanishes behind {B}. Then it {emerge.s} {side?}.
{A} goes missing behind {B} and turns up again
{A} is hidden by {B} for a second and then seen again
first visible, then behind {B}, then visible again: {A}
{B} hides {A} only for a moment
in sight, out of sight behind {B}, in sight again: {A}
{A} {go.s} along, is covered by {B} and appears again
""",
    "behind": """
{A} {hide.s} {B}
{A} {go.s} {dir?} behind {B}
{A} {is} {go.ing} behind {B}
*{A.bare} {go.ing} behind {B.bare}
{B} is there, and {A} {hide.s.A} it
{A.the} {hide.s} {B.the}
{go.ing} {dir}, {A} {hide.s} {B}
let {A} {go.base} behind {B}
""",
    "behind and back": """
{A} {go.s} {dir?} behind {B} and comes back out {side?}
{A} {hide.s} {B} and turns back
{A} {hide.s} {B} and {emerge.s} on the same side
*{A.bare} going behind {B.bare} and coming back
{A} {go.s} behind {B}, but returns where it came from
{A} disappears behind {B}, then comes back {side}
it does not come out on the other side: {A} {go.s} behind {B} and back
""",
    "behind and hidden": """
{A} {go.s} {dir?} behind {B} and stays there
{A} {hide.s} {B} and doesn't come out
{A} {hide.s} {B} and stays hidden
{A} {go.s} {dir?} behind {B} and is not seen again
*{A.bare} hiding behind {B.bare}
{A} disappears behind {B} for good
{A} {hide.s} {B} and never comes back
in the end {A} is hidden by {B}
{A} stops behind {B}, where we can't see it
{A} {go.s} behind {B} and is gone
{A} stays out of sight behind {B}
{A} is last seen going behind {B}
{B} hides {A}, which does not come out
behind {B} {go.s.A} {A}, never to be seen again
""",
    "in front": """
{A} {cross.s} {B}
{A} {go.s} {dir} in front of {B}
{A} {is} {go.ing} {dir?} in front of {B}
*{A.bare} {go.ing} in front of {B.bare}
in front of {B}, {A} {go.s} {dir}
{A} {go.s} {dir?} before {B} and is never hidden
{B} stands behind {A}, which {go.s.A} {dir}
{A} {cross.s} {B}, {go.ing} {dir}
{A} doesn't go behind {B} but {cross.s} it
watch {A} {go.base} in front of {B}
{A} {go.s} by on our side of {B}
{B} is in the background while {A} {go.s.A} across
{A} covers part of {B} as it {go.s} by
{A} is nearer than {B} when it {go.s} by
{A} {go.s} past between us and {B}
""",
    "circles": """
{A} {circle.s} {B} {turn?}
{A} {is} {circle.ing} {B}
*{A.bare} {circle.ing} {B.bare} {turn?}
{A} {circle.s} {B} in circles
{A} goes round and round {B}
{B} in the middle, {A} {circle.s.A} it {turn?}
{B} is circled by {A}
around {B} flies {A} {turn?}
like a moon, {A} {circle.s} {B}
watch {A} {circle.base} {B} {turn?}
{A} travels in a circle around {B}, {turn}
make {A} {circle.base} {B}
""",
    "spins": """
{A} {spin.s} {turn?} {speed?}
{A} {is} {spin.ing} {turn?}
*{A.bare} {spin.ing} {turn?}
*{spin.ing} {A.bare}
{A} {spin.s} in place {turn?}
{A} {spin.s} on the spot {speed?}
{A} turns on its own axis {turn?}
watch {A} {spin.base} {turn?}
{A} keeps {spin.ing} {turn?}
let {A} {spin.base} {turn?}
{A} floats and {spin.s} {turn?}
show {A} from all sides, {spin.ing} {turn}
{A} goes round and round in one place
{A} {spin.s} {speed}
""",
    "swings": """
{A} {swing.s} on a rod
{A} {is} {swing.ing} like a pendulum
*{A.bare} {swing.ing} on a rod
*a pendulum with {A}
*a pendulum made of {A}
{A} hangs from a rod and {swing.s}
{A} {swing.s}
watch {A} {swing.base}
hanging on a rod, {A} {swing.s}
back and forth: {A} on a pendulum
""",
    "swings and hits": """
{A} {swing.s} on a rod and {hit.s} {B}
*a pendulum: {A} {hit.ing} {B}
{A} swings into {B}
{B} is hit by {A} that swings on a rod
like a wrecking ball, {A} {hit.s} {B}
swinging on a rod, {A} {hit.s} {B}
a pendulum with {A} {hit.s} {B}
{B} gets hit by a pendulum with {A}
{A} hangs on a rod, swings down and {hit.s} {B}
""",
    "seesaw throws": """
{A} {fall.s} on {B} and throws {C} into the air
{A} drops onto one end of {B}, {C} flies up
{C} is thrown up when {A} {fall.s.A} on {B}
{A} lands on {B} and {throw.s} {C} up
*{A.bare} on {B.bare}, {C} is launched
{C} sits on {B} until {A} {fall.s.A} on the other end and throws it up
{B} flings {C} up because {A} lands on it
from above {A} hits {B} and {C} goes flying
""",
    "seesaw tips": """
{A} {fall.s} on {B}, which tips down {side?}
{A} drops onto {B} and it tips
{B} tips down {side} when {A} {fall.s.A} on it
{A} lands on the {end} end of {B} and pushes it down
*{A.bare} dropping on {B.bare} and tipping it
the {end} end of {B} goes down under {A}
{A} makes {B} tip over to the {end}
""",
    "seesaw stays": """
{A} {fall.s} on {B}, but it does not tip
{A} is too light to tip {B}
{B} {still.B} when {A} {fall.s.A} on it
{A} drops onto {B} and {B.noun} {still.B}
*{A.bare} dropping on {B.bare}, nothing moves
{A} lands on {B} but can't tip it
""",
    "falls in": """
{A} {fall.s} into {B}
{A} drops into {B}
{A} {is} {fall.ing} into {B}
{A} lands in {B}
*{A.bare} {fall.ing} into {B.bare}
drop {A} into {B}
into {B} falls {A}
{B} catches {A}
{A} ends up inside {B}
{A} is dropped in {B}
a hit: {A} goes right into {B}
put {A} into {B} from above
watch {A} {fall.base} into {B}
{B} is standing there and {A} {fall.s.A} in
""",
    "misses the box": """
{A} {fall.s} next to {B}
{A} {fall.s} but misses {B}
{A} drops beside {B}, not into it
{A} does not fall into {B}
*{A.bare} {fall.ing} beside {B.bare}
{A} lands outside {B}
{B} stays empty: {A} lands beside it
{A} {fall.s}, misses {B} and lands on the floor
""",
    "chain": """
{A} {hit.s} {B}, which {hit.s.B} {C}
{A} {hit.s} {B}, then {B.noun} {hit.s.B} {C}
{A} pushes {B} into {C}
{A} {go.s} {dir?}, {hit.s} {B}, and {B.noun} {hit.s.B} {C}
*a chain reaction: {A} {hit.ing} {B}, which {hit.s.B} {C}
first {A} {hit.s} {B}, and then {B.noun} {hit.s.B} {C}
{C} is hit by {B}, which was hit by {A}
{A} knocks {B} against {C}
{B}, pushed by {A}, {hit.s.B} {C}
one hits the next: {A}, {B}, {C}
""",
    "chain short": """
{A} {hit.s} {B}, which stops before {C}
{A} pushes {B} toward {C}, but it doesn't get there
{A} {hit.s} {B}, but {B.noun} does not reach {C}
{B} is pushed by {A} and stops short of {C}
{A} {go.s} {dir?} and {hit.s} {B}; {C} is not touched
{C} {still.C} because {B}, hit by {A}, stops before it
""",
    "no wall": """
{A} {go.s} {dir} and nothing stops it
{A} keeps {go.ing} {dir}, there is no wall
no wall in the way: {A} {go.s} {dir}
{A} {go.s} {dir} with nothing in its way
*{A.bare} {go.ing} {dir}, no obstacle
without hitting anything {A} {go.s} {dir}
{A} {go.s} {dir} on an empty floor
""",
    "side by side": """
{A} {rel} {B}
{A} is {rel} {B}
{A} stands {rel} {B}
there is {A} {rel} {B}
*{A.bare} {rel} {B.bare}
{A.the} is placed {rel} {B.the}
{A} can be seen {rel} {B}
{rel} {B} there is {A}
{rel} {B} stands {A}
{rel} {B} you find {A}
*{A}, {rel} {B}
{A} has been put {rel} {B}
put {A} {rel} {B}
*{B} with {A} {rel} it
here is {B}; {rel} it, {A}
still life: {A} {rel} {B}
the position of {A} is {rel} {B}
you can see {B} and, {rel} it, {A}
I placed {A} {rel} {B}
{A} {rel} {B}, both at rest
*{A} standing {rel} {B}
make a scene with {A} {rel} {B}
{A} sits {rel} {B} and nothing moves
*just {A} {rel} {B}
""",
    "left and right": """
*{A} on the left and {B} on the right
*{A} on the left, {B} on the right
on the left {A}, on the right {B}
on the left is {A} and {B} is on the right
{A} is on the left side while {B} is on the right side
left: {A}. right: {B}
to the left we see {A}, to the right {B}
the left half shows {A} and the right half {B}
from left to right: {A}, {B}
*{B} on the right and {A} on the left
right: {B}, left: {A}
*{A} (left) and {B} (right)
{B} stands at the right, {A} at the left
{A} has {B} on its right
{B} has {A} on its left
on the right of {A} is {B}
on the left of {B} is {A}
{A} comes first, {B} second, from left to right
seen from the left: {A}, {B}
the left thing is {A} and the right thing is {B}
the one on the right is {B}, the one on the left is {A}
{A} at the left hand, {B} at the right hand
""",
    "between": """
{B} stands between {A} and {C}
{B} is between {A} and {C}
*{B} between {A} and {C}
between {A} and {C} there is {B}
{A} and {C} with {B} in the middle
{B} in the middle, {A} on the left, {C} on the right
from left to right: {A}, {B}, {C}
{A} on the left, {B} in the centre and {C} on the right
*{A}, {B} and {C} in a row, from left to right
{A}, then {B}, then {C}, left to right
left {A}, middle {B}, right {C}
put {B} between {A} and {C}
{B} is the middle one, {A} and {C} beside it
{B} has {A} on its left and {C} on its right
{A} and {C} are on either side of {B}
{B} in the centre, flanked by {A} and {C}
{B} has {A} and {C} as neighbours
three in a row: {A}, {B} and {C}
{B} stands in the gap between {A} and {C}
the order from the left is {A}, {B}, {C}
""",
    "on top": """
{A} {rel} {B}
*{A} {rel} {B}
{A} is {rel} {B}
{A} sits {rel} {B}
there is {A} {rel} {B}
{rel} {B} there is {A}
*{B} with {A} on it
put {A} {rel} {B}
{B} carries {A}
you can see {A} {rel} {B}
""",
    "in depth": """
{A} with {B} behind it
{B} stands in the background, behind {A}
{A} is in front, {B} farther back
{B} is behind {A}
*{A} with {B} in the background
in front {A}, behind it {B}
{A} in the foreground and {B} in the background
behind {A} there is {B}
""",
    "in line": """
{A} {rel} {B}
*{A} {rel} {B}
{A} is {rel} {B}
there is {A} {rel} {B}
*{A.bare} {rel} {B.bare}
{A} can be seen {rel} {B}
{rel} {B} there is {A}
I want {A} {rel} {B}
look at {A} {rel} {B}
*{A}, {rel} {B}
""",
    "row": """
from left to right: {A}, {B}, {C}, {D}
*{A}, {B}, {C} and {D} in a row, from left to right
{A}, {B}, {C} and {D} stand in a row
{A}, {B}, {C} and {D} are lined up from left to right
four things in a row: {A}, {B}, {C}, {D}
left to right we see {A}, {B}, {C} and {D}
first {A}, then {B}, then {C}, then {D}, left to right
*a row of four things: {A}, {B}, {C}, {D}
{A} is at the left end, then come {B}, {C} and {D}
put {A}, {B}, {C} and {D} side by side, from left to right
""",
    "list of one": """
{A}
*{A.bare}
here is {A}
there's {A}
*{A}, nothing more
*{A} on the floor
the scene contains {A}
only {A} in view
show {A}
we have {A} here
*one thing only: {A}
I want to see {A}
just show me {A}
*{A} to look at
there is only {A}
{A}, that's all
*the subject: {A}
""",
    "list of two": """
{A} and {B}
*{A}, {B}
*{A} with {B}
there are {A} and {B}
here are {A} and {B}
*both {A} and {B}
*{A} as well as {B}
*{A.bare} and {B.bare}
the scene contains {A} and also {B}
*{A} together with {B}
besides {A} there is {B}
you see {A} plus {B}
two things: {A} and {B}
*{A.bare} + {B.bare}
I need {A} and {B} in it
there should be {A} and {B}
one thing is {A}, another is {B}
*{A} along with {B}
you get {A} and {B}
{A} is there and so is {B}
a place with {A} and {B}
""",
    "list of three": """
*{A}, {B} and {C}
*{A}, {B}, {C}
*{A} and {B} and {C}
here we have {A}, {B} and also {C}
*{A.bare}, {B.bare}, {C.bare}
on the floor are {A}, {B} and {C}
three things: {A}, {B} and {C}
besides {A} and {B} there is {C}
""",
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
""",
    "two stand still": """
{A} and {B} stand still
nothing moves: {A} and {B}
{A} and {B}, neither of them moves
*{A.bare} and {B.bare} at rest
{A} and {B} just stand there
{A} {still}, and so does {B}
""",
}

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


def parse_lines(text: str) -> tuple[str, ...]:
    """The patterns of a list, in order. Repeated lines are kept; they are sampled more often."""
    return tuple(line for line in text.strip("\n").splitlines() if line.strip())


def all_patterns() -> tuple[str, ...]:
    """Every distinct pattern."""
    found = [line for text in (*MAINS.values(), *ENDINGS.values()) for line in parse_lines(text)]
    found += [*parse_lines(FRAMES), *parse_lines(CAMERA_TAILS), *parse_lines(PLACE_TAILS)]
    return tuple(dict.fromkeys(found))
