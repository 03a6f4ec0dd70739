"""A thing falls, bounces or not, and lands. The package describes the notation."""

from __future__ import annotations

MAINS: dict[str, str] = {
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
I drop {A}
you drop {A}
let {A} drop
let go of {A} and it falls
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
{A} drops and bounces {height}
{A} lands and bounces {height}
{A} {fall.s} and comes up {height} again
{A} {fall.s} and makes a small bounce
{A} {fall.s} and jumps up {height}
{A} {fall.s} with hardly a bounce
a small bounce after a fall: {A}
not much of a bounce: {A} {fall.s}
{A} {fall.s}; the bounce is small
{A} bounces {height} after it {fall.s}
*{A} with a small bounce after its fall
let {A} bounce {height} after a fall
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
{A} drops and does not bounce
{A} drops dead to the floor
{A} drops and stays put
{A} lands without any bounce
{A} lands with a thud
{A} lands and doesn't bounce at all
{A} {fall.s}, thud
{A} {fall.s} and lies still
{A} {fall.s} with no bounce
{A} {fall.s} and there's no bounce
{A} {fall.s} but does not jump up again
{A} hits the ground and doesn't come back up
no bouncing: {A} {fall.s} and stays down
*{A} landing without a bounce
*a fall of {A} with no bounce
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
{A} comes down on {B} and stays up there
{A} {fall.s} and stays on {B}
{B} ends up below {A}
{B} has {A} on top after the fall
*{A.bare} that lands on {B.bare}
*{A.bare} {fall.ing} on top of {B.bare}
let {A} {fall.base} on {B}
can you drop {A} on top of {B}
{A} {fall.s}. It lands on {B}.
{A} finds its place on {B} after {fall.ing}
from above {A} lands on {B} and rests there
{B} stops the fall of {A}, which stays on it
{A} is let go above {B} and lands on it
a landing on {B}: {A}
after the drop {A} sits on {B}
{A} stacks itself on {B}
{A} {fall.s} and ends on {B}
{A} {fall.s} right on {B} and stays on it
{A} {fall.s} on top of {B} and stays
{A} {fall.s} down on {B} and keeps lying on it
{A} is let fall on {B} and stays on top
{A} drops on {B} and rests on top
{A} stays on top of {B} after its fall
{B} carries {A} after the fall
{B} has {A} sitting on it in the end
*{A} {fall.ing} onto {B} and staying there
let {A} land on {B}
I want {A} to land on {B}
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
{A} {fall.s} on {B} and slips off
{A} can't stay on {B} and lands next to it
{A} touches {B} from above and falls to its side
*{A.bare} that falls off {B.bare}
{B} does not hold {A}, which ends up beside it
{A} {fall.s} on {B}, but ends up on the floor
{A} bounces off {B} and lands beside it
{A} {fall.s} on {B} and rolls off it
{A} {fall.s} on {B} and slides off
{A} {fall.s} on {B} and drops off beside it
{A} {fall.s} onto {B} and then off it
{A} lands on {B} but falls off
{A} lands on {B} for a moment and then next to it
{A} hits {B} from above and ends up next to it
{A} comes down on {B} and ends up on the floor beside it
{A} does not stay on {B} after its fall
{A} doesn't stay on top of {B} and ends up on the floor
{A} misses its place on {B} and lands next to it
first on {B}, then beside it: {A} {fall.s}
off {B} and onto the floor {fall.s} {A}
*{A} {fall.ing} off {B} after landing on it
*{A.bare} landing next to {B.bare}
drop {A} on {B} so that it falls off beside it
{A} ends up at the side of {B} after its fall
{B} is only touched by {A}, which {fall.s.A} off beside it
""",
}
