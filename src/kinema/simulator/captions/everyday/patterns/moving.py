"""Things roll, slide, circle and spin. The package describes the notation."""

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
off goes {A}, {dir}
in this one {A} {go.s} {dir}

{A} moves {dir}
{A} is moving {dir}
{A} goes {dir}
{A} is going {dir}
{A} travels {dir}
{A} heads {dir}
{A} passes through the picture {dir}
{A} crosses the floor {dir}
{A} crosses the scene {dir} {speed?}
{A} comes into motion {dir}
{A} starts moving {dir}
{A} starts to {go.base} {dir}
{A} does not stop {go.ing} {dir}
{A} goes on {go.ing} {dir}
{A} just {go.s} {dir}
{A} simply {go.s} {dir}
{A} only {go.s} {dir}
a {go.ing} {A.bare}, {dir}
one moving thing: {A}, {dir}
look, {A} moves {dir}
I want {A} to {go.base} {dir}
I want to see {A} {go.ing} {dir}
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
{A} {go.s} {dir?} and stands still then
{A} {go.s} {dir?} and comes to rest
{A} {go.s} {dir?} and ends at rest
{A} {go.s} {dir?}, then no more
{A} {go.s} {dir?}, then halts
{A} {go.s} {dir?} a bit and {stop.s}
{A} {go.s} {dir?} and soon {stop.s}
{A} {go.s} {dir?} and slowly comes to rest
{A} slows down while {go.ing} {dir?} until it {stop.s}
{A} comes to rest after {go.ing} {dir?}
{A} comes to a standstill after {go.ing} {dir?}
{A} doesn't go on forever: it {go.s} {dir?} and {stop.s}
{A} stops moving after {go.ing} {dir?}
*{A} {go.ing} {dir?} and coming to a stop
*{A} {go.ing} {dir?} until it {stop.s}
I want {A} to {go.base} {dir?} and stop
make {A} {go.base} {dir?} and then stop
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
