"""Ramps, tables, towers, dominoes, pins, pendulums, seesaws and boxes. The package describes the notation."""

from __future__ import annotations

MAINS: dict[str, str] = {
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
}
