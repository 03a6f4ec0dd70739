"""A thing goes behind or in front of another. The package describes the notation."""

from __future__ import annotations

MAINS: dict[str, str] = {
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
{A} {go.s} {dir?} behind {B} and can be seen again {side?}
{A} goes out of view behind {B} and comes into view again
{A} passes behind {B} and is visible again
{A} passes behind {B}
{A} {go.s} all the way behind {B} to the other side
*{A.bare} that {hide.s} {B.bare} and {emerge.s}
*{A.bare} passing behind {B.bare}
let {A} {go.base} behind {B} and come out again
can you make {A} {go.base} behind {B} and reappear
{A} {hide.s} {B}. A moment later it {emerge.s} {side?}.
{A} makes a tunnel trip behind {B} and {emerge.s} {side?}
peekaboo: {A} {hide.s} {B} and {emerge.s}
{A} comes out from behind {B} after it {go.past} there
{A} is not gone for good: it {hide.s} {B} and {emerge.s}
{A} does not stay behind {B}, it {emerge.s} {side?}
now you see it, now you don't, now you do: {A} and {B}
{B} is between us and {A} for a moment
{A} shows itself again after it {hide.s} {B}
{go.ing} {dir?}, {A} {hide.s} {B} and {emerge.s} {side?}
{A} will {go.base} behind {B} and come out {side?}
{A} goes by behind {B}
out of view and back into view: {A} behind {B}
{B} gets in the way of our view of {A} and then {A.noun} {emerge.s.A}
{A} {go.s} {dir} and for a while {B} is in front of it
{A} {go.s} {dir?} behind {B} and out on the other side
{A} {go.s} behind {B} and comes out again {side?}
{A} {go.s} behind {B} and then appears {side}
{A} {go.s} behind {B}, and then we see it again
{A} {go.s} in behind {B} and out {side}
{A} {go.s} past on the far side of {B} and comes out
{A} can't be seen while it is behind {B}, then it can
{A} is lost from view behind {B} and then found again
{A} is out of sight behind {B} for a little while
{A} is out of sight for a bit as it {go.s} behind {B}
{A} is covered by {B} for a moment
{A} is behind {B} for a short time only
{A} disappears for a moment behind {B}
{A} disappears for a second while it {go.s} behind {B}
{A} briefly disappears behind {B}
{A} briefly {hide.s} {B}
{A} vanishes for a while behind {B} and shows up {side}
{A} takes the way behind {B} and {emerge.s} {side?}
{A} travels behind {B} from one side to the other
{A} passes through behind {B}
{A} goes unseen behind {B}, then {emerge.s}
behind {B} and out again {go.s} {A}
behind {B} goes {A} and out it comes
in goes {A} behind {B}, out it comes {side}
when {A} has gone behind {B} it {emerge.s} {side?}
while {A} is behind {B} we can't see it, then it {emerge.s}
after a moment behind {B}, {A} {emerge.s} {side?}
after it {hide.s} {B}, {A} {emerge.s} again
{B} hides {A}, but not for long
{B} hides {A} briefly
{B} blocks our view of {A} for a second
{B} blocks the view until {A} {emerge.s.A}
{B} is in front of {A} for a moment
we lose sight of {A} behind {B}, then it is back
we lose {A} behind {B} and find it again {side}
we see {A}, then only {B}, then {A} again
visible, hidden by {B}, visible: {A}
*{A} that goes behind {B} and comes out again
*{A} going behind {B} and reappearing
*{A.bare} hidden by {B.bare} for a moment
let {A} pass behind {B} and come out {side?}
I want {A} to {go.base} behind {B} and come out

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
{A} passes out of sight behind {B}
{A} makes its way behind {B}
*{A.bare} that {go.s} behind {B.bare}
can you make {A} {go.base} behind {B}
{A} gets behind {B}
behind {B} {go.s} {A}
""",
    "behind and back": """
{A} {go.s} {dir?} behind {B} and comes back out {side?}
{A} {hide.s} {B} and turns back
{A} {hide.s} {B} and {emerge.s} on the same side
*{A.bare} going behind {B.bare} and coming back
{A} {go.s} behind {B}, but returns where it came from
{A} disappears behind {B}, then comes back {side}
it does not come out on the other side: {A} {go.s} behind {B} and back
{A} goes in behind {B} and comes out where it went in
{A} {hide.s} {B}, turns around and {emerge.s}
{A} peeks out again on the side where it went behind {B}
*{A.bare} that {hide.s} {B.bare} and returns
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
{A} {hide.s} {B}. It does not come back.
{A} {hide.s} {B} and remains out of view
{A} gets behind {B} and stays there
{A} ends up behind {B}, unseen
{A} ends its way behind {B}
{A} goes out of view behind {B} and does not return
{A} seeks cover behind {B} and stays hidden
{A} takes cover behind {B}
*{A.bare} that {hide.s} {B.bare} and stays there
*{A.bare} ending up behind {B.bare}
let {A} {go.base} behind {B} and not come out
can you make {A} {go.base} behind {B} and stay hidden
make {A} vanish behind {B}
{A} vanishes behind {B}
at the end only {B} is visible, with {A} behind it
{B} swallows {A}
{B} keeps {A} hidden
we lose sight of {A} behind {B}
we don't see {A} any more once it is behind {B}
once behind {B}, {A} stays there
{A} {go.s} {dir?} and remains behind {B}
{A} parks behind {B}
hidden in the end: {A}, behind {B}
{A} {go.s} behind {B}, nothing comes out
hide {A} behind {B}
nobody can see {A} after it {hide.s} {B}
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
{A} passes in front of {B}
{A} passes {B} on our side
*{A.bare} passing in front of {B.bare}
*{A.bare} that {cross.s} {B.bare}
let {A} {go.base} in front of {B}
can you make {A} {go.base} in front of {B}
{A} stays visible as it {go.s} past {B}
{A} stays in view and {cross.s} {B}
{A} {go.s} along the front of {B}
{A} is closer to us than {B} and {go.s} by
the way of {A} leads past the front of {B}
{B} is behind, {A} {go.s.A} in front
behind {A}, which {go.s.A} {dir}, there is {B}
{A} {go.s} {dir?} and {B} is behind it
{A} will {go.base} in front of {B}
in the foreground {A} {go.s} {dir}, behind it there is {B}
never hidden, {A} {cross.s} {B}
{A} does not hide: it {cross.s} {B}
between the camera and {B}, {A} {go.s.A} {dir}
{B} is the backdrop for {A}, which {go.s.A} by
{A} {go.s} in front of {B} the whole time
{A} {go.s} across in front of {B} {dir?}
{A} {go.s} {dir?}, with {B} behind it
{B} is behind {A} as it {go.s.A} by
{B} is farther back than {A}, which {go.s.A} past it
{A} {go.s} past with {B} in the background
we see all of {A} as it {go.s} past {B}
{A} is always visible while it {go.s} past {B}
*{A} crossing in front of {B}
I want {A} to {go.base} in front of {B}

""",
}
