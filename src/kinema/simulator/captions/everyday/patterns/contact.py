"""One thing meets, misses or falls on another. The package describes the notation."""

from __future__ import annotations

MAINS: dict[str, str] = {
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
{A} collides with {B}
{A} runs into {B}
{A} bangs into {B}
{A} slams into {B}
{A} makes contact with {B} while {go.ing} {dir?}
a hit: {A} against {B}
*the hit of {A} on {B}
*an impact of {A} on {B}
*a bump: {A} into {B}
can you let {A} {hit.base} {B}
show {A} as it {hit.s} {B}
watch {A} {hit.base} {B}
look how {A} {hit.s} {B}
object one: {A.bare}; object two: {B.bare}; the first {hit.s} the second
mover: {A.bare}, target: {B.bare}, they collide
{B} is the obstacle that {A} {hit.s.A}
{A} {go.s} {dir?} and crashes
{A} finds {B} in its way and {hit.s} it
{B} blocks the way of {A}, so they collide
in the way of {A} stands {B}, so there is a crash
what {A} {hit.s} is {B}
the thing that {hit.s.A} {B} is {A}
it's {B} that {A} {hit.s.A}
it is {A} that {hit.s} {B}
{A} {go.s} {dir?}. Then it {hit.s} {B}.
first {A} {go.s} {dir?}, next it {hit.s} {B}
*{B}, hit by {A}
*{B.bare}, which {A} {hit.s.A}
*{B.bare} hit by {A.bare}
*{A.bare} that {hit.s} {B.bare}
{B} has been hit by {A}
{B} will be hit by {A}
{A} will {hit.base} {B}
{A} is going to {hit.base} {B}
{A} should {hit.base} {B}
{A} does not avoid {B} but {hit.s} it
{A} can't help it and {hit.s} {B}
{A} on its way {dir} {hit.s} {B}
the way {dir} is blocked by {B}, and {A} {hit.s.A} it
{B} is in for a hit from {A}
suddenly {A} {hit.s} {B}
there is a bang as {A} {hit.s} {B}
{A} + {B} = crash
{A} -> {B}, collision
a traffic accident between {A} and {B}
{A} and {B} come together with a bang
{A}, not stopping, {hit.s} {B}
{B} waits, {A} comes and {hit.s.A} it
along comes {A} and {hit.s} {B}
{A} comes along and {hit.s} {B}
{A} drives against {B}
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
{B} gives way {pdir} when {A} {hit.s.A} it
{B} is moved {pdir} by {A}
{A} forces {B} {pdir}
{A} gets {B} moving {pdir}
thanks to {A}, {B} moves {pdir}
{A} bumps into {B} and it moves {pdir}
{A} hits {B}, then {B.noun} is on the move {pdir}
can you make {A} {push.base} {B} {pdir}
{B} starts to move {pdir} when {A} hits it
{B} starts moving {pdir} after a bump from {A}
pusher: {A.bare}, pushed thing: {B.bare}
*{B.bare} being {push.ed} {pdir} by {A.bare}
*{B.bare} that gets {push.ed} by {A.bare}
*{A.bare} that {push.s} {B.bare} {pdir}
{A} sends {B} on its way {pdir}
{B} has been {push.ed} {pdir} by {A}
{B} can't resist {A} and moves {pdir}
{B} is not heavy enough to stay when {A} {hit.s.A} it
{A} {hit.s} {B}. {B.noun} moves {pdir}.
the hit from {A} moves {B} {pdir}
what {A} {push.s} {pdir} is {B}
the one that is {push.ed} is {B}, by {A}
{A} makes room for itself and {push.s} {B} {pdir}
{A} carries {B} along {pdir}
{A} will {push.base} {B} {pdir}
a push: {A} against {B}
the effect of {A} on {B}: it moves {pdir}
{B} lies in the way and is {push.ed} {pdir} by {A}
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
{A} makes {B} fall over
{A} makes {B} topple
{A} tips {B} over
{B} falls over after a bump from {A}
{B} tips over as {A} {hit.s.A} it
{B} lies on its side because of {A}
{B} no longer stands after {A} {hit.s.A} it
{B} is brought down by {A}
{B} is laid flat by {A}
{A} lays {B} flat
{A} upsets {B}
can you make {A} {knock over.base} {B}
*{A.bare} that {knock over.s} {B.bare}
*{B.bare} falling over, hit by {A.bare}
*{B.bare} that {A} {knock over.s.A}
{A} {hit.s} {B}. {B.noun} {tip.s.B}.
what {A} {knock over.s} is {B}
it's {B} that gets {knock over.ed} by {A}
it is {A} that {knock over.s} {B}
{A} will {knock over.base} {B}
{B} is not steady enough: {A} {hit.s.A} it and it falls over
after {A} there is no {B.bare} standing any more
{A} comes and {B} tips
before: {B} stands. After {A}: it lies.
{B} goes over when {A} bumps it
hit it hard: {A} {knock over.s} {B}
a fall caused by a hit: {A} and {B}
thanks to {A}, {B} falls over
{B} is down after the hit from {A}
{A} knocks {B} off balance, and it falls
{B} loses its footing as {A} bumps it
the victim is {B}, {knock over.ed} by {A}
{B} topples under the hit from {A}
upright at first, {B} {tip.s.B} when {A} {hit.s.A} it
{A} {go.s} into {B} and {B.noun} falls on its side
{A} {hit.s} {B} and it falls to the ground
{B} ends up lying down after {A} {hit.s.A} it
{B} is on its side after {A} {hit.s.A} it
{B} goes down when {A} {hit.s.A} it
{A} makes {B} lie down
{A} lays {B} flat
{A} sends {B} to the floor
{B} can't keep standing when {A} {hit.s.A} it
first {B} stands, then {A} {hit.s.A} it, then it lies
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
{A} {hit.s} {B}. Nothing happens to {B.noun}.
{B} does not care that {A} {hit.s.A} it and stays
{B} stays where it is when {A} {hit.s.A} it
{B} withstands the hit from {A}
{B} holds its place when {A} {hit.s.A} it
{B} doesn't budge when {A} {hit.s.A} it
*{A.bare} that {hit.s} {B.bare} without effect
{A} bumps into {B}, which is not moved
in vain {A} {hit.s} {B}
{A} {hit.s} {B} and cannot move it
not moved at all: {B}, hit by {A}
{A} is too light to move {B} by its hit
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
}
