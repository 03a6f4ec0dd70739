"""Things that move, fall or stand still alone or in a group. The package describes the notation."""

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
{A} is headed {dir}
{A} is on its way {dir}
you can see {A} {go.base} {dir}
our hero is {A} and it {go.s} {dir}
*{A}, {speed?} {go.ing} {dir}
object: {A.bare}; motion: {go.ing} {dir}
*{A.bare} in motion {dir}
can you make {A} {go.base} {dir}
can I see {A} {go.base} {dir}
would you let {A} {go.base} {dir}
{go.ing} {dir} we see {A}
{A} makes its way {dir}
{A} sets off {dir}
{A} sets out {dir} {speed?}
{A} moves along {dir}
{A} can be seen {go.ing} {dir} {speed?}
{A} keeps {go.ing} {dir}
{A} keeps moving {dir} all the time
{A} changes its place by {go.ing} {dir}
{A}: {go.ing} {dir}
{A} -> {dir}
a single action: {A} {go.s} {dir}
the only thing that happens: {A} {go.s} {dir}
all that happens is that {A} {go.s} {dir}
what {A} does is {go.base} {dir}
the thing that {go.s.A} {dir} is {A}
what {go.s.A} {dir} is {A}
{A}. Direction: {dir}
our view is on {A} as it {go.s} {dir}
{A} goes on a trip {dir}
{A} is off {dir}
*a trip {dir} for {A}
over the floor {A} {go.s} {dir}
along comes {A}, {go.ing} {dir}
{A} comes along {go.ing} {dir}
send {A} {dir}
get {A} to {go.base} {dir}
we need {A} to {go.base} {dir}
somebody has set {A} in motion {dir}
{A} was set in motion and {go.s} {dir}
{A} has started to {go.base} {dir}
{A} is in the picture and {go.s} {dir}
*motion {dir} by {A}
{A} will {go.base} {dir}
{A} is going to {go.base} {dir}
{A} should {go.base} {dir}
{A} has to {go.base} {dir}
if {A} {go.past} {dir}, how would that look
look at {A} {go.base} {dir}
look at {A} {go.ing} {dir}
follow {A} on its way {dir}
everyone watches {A} {go.base} {dir}
{A} leaves its place and {go.s} {dir}
{A} starts on one side and ends on the other, {go.ing} {dir}
the thing that {go.s} {dir} is {A}
what {go.s} {dir} is {A}
it is {A} that {go.s} {dir}
here comes {A}, {go.ing} {dir}
there goes {A}, {go.ing} {dir}
off goes {A}, {dir}
{A} makes its way {dir}
{A} keeps {go.ing} {dir}
in this one {A} {go.s} {dir}
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
{A} is moving
*{A.bare} in motion
*{A.bare} on the move
watch {A} {go.base}
{A} keeps {go.ing}
make {A} {go.base} please
{A} can be seen {go.ing}
what {A} does is {go.base}
{A}: {go.ing}
subject: {A.bare}; action: {go.ing}
off {go.s} {A}
{A} changes its place
see how {A} {go.s} {speed?}
there is {A} and it {go.s}
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
{A} comes to a halt after {go.ing} {dir?}
{A} {go.s} {dir?} but not for long: it {stop.s}
{A} {go.s} {dir?}, gets slower, stands still
*{A.bare} that {go.s} {dir?} and then rests
*{A.bare} {go.ing} {dir?} and coming to rest
the ride of {A} {dir} ends with a stop
{A} {go.s} {dir?} up to a point and stays there
{A} is {go.ing} {dir?} and will {stop.base}
{A} loses speed and {stop.s}
{A} {go.s} {dir?}. A moment later it {stop.s}.
motion then rest: {A} {go.s} {dir?} and {stop.s}
start: {A} {go.s} {dir?}. end: it {stop.s}
let {A} {go.base} {dir?} and come to rest
can you get {A} to {go.base} {dir?} and then {stop.base}
{A} {go.s} {dir?}, but then it won't go on any more
it is over quickly: {A} {go.s} {dir?} and {stop.s}
the movement of {A} {dir} dies away
{A} uses up its speed while {go.ing} {dir?} and {stop.s}
{A} halts after it {go.past} {dir?}
{A} {go.s} {dir?} and ends in a standstill
no longer moving in the end, {A} first {go.s} {dir?}
{A} {go.s} {dir?}, then rest
{A}, having {go.ed} {dir?}, {stop.s}
at the end {A}, which {go.past} {dir?}, is at rest
{A} slows to a stop while {go.ing} {dir?}
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
{A} {go.s} {dir} and is gone from the picture
exit {A}, {go.ing} {dir}
soon {A} is out of the frame, {go.ing} {dir}
{A} {go.s} {dir?} beyond the edge of the picture
{go.ing} {dir?}, {A} {leave.s}
let {A} {go.base} {dir?} and {leave.base}
{A} {go.s} {dir?} and nobody sees it any more
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
{G} are headed {dir}
{G} make their way {dir}
can you make {G} {go.base} {dir}
object: {G}; motion: {go.ing} {dir}
{G}: {go.ing} {dir}
{G} can be seen {go.ing} {dir}
you can see {G} {go.base} {dir}
let {G} {go.base} {dir}
side by side {G} {go.base} {dir}
look at {G} {go.ing} {dir}
{G} keep {go.ing} {dir}
what {go.base} {dir} are {G}
a bunch of things {go.ing} {dir}: {G}
in step {G} {go.base} {dir}
{G} are on their way {dir}
along come {G}, {go.ing} {dir}
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
{A} is falling from up high
{A} falls out of the air
{A} goes down to the floor from above
{A} comes down
{A} comes down from above
{A} drops down
{A} is let fall
{A} is let go and {fall.s}
down comes {A}
down it goes: {A}
down to the floor {fall.s} {A}
*{A.bare} on its way down
*{A.bare} coming down from above
*{A.bare} that {fall.s}
*the fall of {A}
object: {A.bare}; action: {fall.ing}
{A}: {fall.ing}
can you drop {A}
can I see {A} {fall.base}
drop {A}
just drop {A}
make {A} {fall.base}
let {A} {fall.base} from above
have {A} {fall.base} to the floor
someone drops {A}
somebody has dropped {A}
nobody holds {A}, so it {fall.s}
nothing holds {A} any more and it {fall.s}
{A} starts up in the air and ends on the ground
{A} starts above and ends below
{A} is up in the air and {fall.s}
{A} loses height and ends on the floor
{A} will {fall.base}
{A} is going to {fall.base}
{A} should {fall.base}
{A} has fallen to the floor
{A} meets the floor after {fall.ing}
what {A} does is {fall.base}
it's {A} that {fall.s}
{A} follows gravity
under its own weight {A} {fall.s}
look at {A} {fall.ing}
see {A} come down
from the top of the picture {A} {fall.s}
{A} hangs in the air for an instant and {fall.s}
there it falls, {A}
{A} gets let go above the floor
{A} drops to the floor, like that
{A} is dropped
somebody drops {A}
someone drops {A}
I drop {A}
you drop {A}
drop {A}
let {A} drop
let go of {A} and it falls
down comes {A}
down goes {A}
{A} heads down to the floor
{A} ends its fall on the ground
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
{A} {fall.s} and comes up again {height}
{A} {fall.s} and is thrown back up by the floor
{A} rebounds from the floor {height}
{A} {bounce.s} back {height} when it meets the floor
down and up again {height}: {A}
*{A.bare} that {bounce.s} {height}
*{A.bare} {fall.ing} and {bounce.ing} back {height}
*{A.bare}, very bouncy
let {A} {fall.base} and {bounce.base} {height}
can you make {A} {bounce.base} {height}
make {A} {bounce.base} {height}
{A} {fall.s}. It {bounce.s} {height}.
{A} doesn't stay down, it {bounce.s} {height}
{A} goes back up {height} after the fall
{A} leaps up {height} from the floor
{A} is dropped. Up it goes again, {height}
the fall of {A} ends in a bounce {height}
{A} will {bounce.base} {height} off the ground
like rubber, {A} {bounce.s} {height}
{A} comes down, touches the ground and {bounce.s} {height}
a drop and a bounce {height}: {A}
object: {A.bare}; it {fall.s} and {bounce.s} {height}
{A} drops and bounces right back
{A} drops and jumps back up
{A} hits the ground and jumps up again
{A} falls and leaps back up
{A} falls and springs high
bouncy {A.bare}: it falls and goes up again
{A} comes down and goes right back up
{A} rebounds high after its fall
{A} falls, hits the ground, and up it goes
what falls comes up again: {A}
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
{A} is let go and {bounce.s} {height}
*{A.bare} that {fall.s} and {bounce.s} {height}
{A} comes down and {bounce.s} {height}
{A} {bounce.s} {height} when it lands
the bounce of {A} is a small one
{A} hardly comes up again after it {fall.s}
let {A} {fall.base} and {bounce.base} {height}
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
{A} {fall.s} and remains on the floor
{A} {fall.s} and does not come up again
{A} {fall.s} and that is the end, no bounce
*{A.bare} that {fall.s} and does not bounce
*{A.bare} dropped, not bouncing
no bounce when {A} {fall.s}
can you drop {A} so that it doesn't bounce
let {A} {fall.base} without a bounce
{A} {fall.s}. It does not bounce.
{A} lands and rests
{A} comes down and does not bounce back
{A} hits the floor and stays down
{A} hits the floor, no rebound
{A} will not bounce after it {fall.s}
dead stop after a fall: {A}
{A} doesn't bounce when it lands
{A} stays down after the fall
{A} is dropped and lies still right away
like a sack {A} {fall.s} and doesn't bounce
one thud and {A} stays where it {fall.s}
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
{A} lies there
{A} lies there without moving
{A} waits
{A} just waits there
{A} has stopped moving
nothing happens to {A}
nothing moves {A}
not a thing happens: {A} stands there
{A} is there and does nothing
{A} does not do a thing
{A} doesn't go anywhere
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
}
