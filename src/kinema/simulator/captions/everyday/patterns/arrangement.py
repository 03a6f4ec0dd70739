"""What is in the picture, and where. The package describes the notation."""

from __future__ import annotations

MAINS: dict[str, str] = {
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
*{A} placed {rel} {B}
*{A} lying {rel} {B}
{A} lies {rel} {B}
{A} rests {rel} {B}
{A} is located {rel} {B}
{A} is to be found {rel} {B}
{A} has its place {rel} {B}
the place of {A} is {rel} {B}
{rel} {B} we see {A}
{rel} {B} rests {A}
place {A} {rel} {B}
set {A} {rel} {B}
could you put {A} {rel} {B}
can you place {A} {rel} {B}
can I have {A} {rel} {B}
show {A} {rel} {B}
give me {A} {rel} {B}
I want {A} to be {rel} {B}
I'd like {A} {rel} {B}
{A} should be {rel} {B}
{A} must be {rel} {B}
somebody put {A} {rel} {B}
{A} was put {rel} {B}
{A} waits {rel} {B}
where is {A}? {rel} {B}
what is {rel} {B}? {A}
it's {A} that stands {rel} {B}
object one: {A.bare}, {rel} object two: {B.bare}
two things, {A} {rel} {B}
*the picture of {A} {rel} {B}
there is {B} and {rel} it there is {A}
look at {A} {rel} {B}
{A} belongs {rel} {B}
you'll find {A} {rel} {B}
nothing moves, {A} is {rel} {B}
*{A.bare} standing {rel} {B.bare}
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
*{A} at left, {B} at right
*left: {A.bare}, right: {B.bare}
left {A} right {B}
in the left half {A}, in the right half {B}
on the left-hand side {A}, on the right-hand side {B}
the left one is {A} and the right one is {B}
on the right there is {B}, on the left there is {A}
on the right {B}, on the left {A}
{A} is the left one, {B} the right one
{B} is the right one, {A} the left one
place {A} on the left and {B} on the right
put {B} on the right and {A} on the left
put {A} left, {B} right
I want {A} on the left and {B} on the right
can I have {A} on the left and {B} on the right
there is {A} on the left. On the right there is {B}.
you see {A} on the left; on the right you see {B}
two things stand there, {A} on the left, {B} on the right
{A} occupies the left side, {B} the right side
{A} takes the left, {B} takes the right
first from the left is {A}, second is {B}
the left side has {A}, the right side has {B}
left of centre {A}, right of centre {B}
{A} stands left, {B} stands right
*{B} (right) and {A} (left)
*{A} [left], {B} [right]
{A} is farther left than {B}
{B} is farther right than {A}
{A} is more to the left, {B} more to the right
start at the left: {A}. Then {B}.
when you look from left to right you see {A} and then {B}
{B} comes after {A} when you go from left to right
reading from the left: {A}, then {B}
going from right to left: {B}, {A}
seen from the right: {B}, then {A}
on one side, the left, {A}, on the other, the right, {B}
*{A} and on its right {B}
*{B} and on its left {A}
*{A}, with {B} on its right
*{B}, with {A} on its left
look left: {A}. look right: {B}
the left object is {A}, the right object is {B}
at the left there is {A} and at the right there is {B}
to the left there's {A} and to the right there's {B}
{A} is left, {B} is right
*left side: {A.bare}, right side: {B.bare}
{A} is on our left and {B} is on our right
{B} is on our right and {A} is on our left
as the left object {A}, as the right object {B}
L: {A.bare}, R: {B.bare}

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
*a picture of {A}
*a clip with {A}
you can see {A}
you see {A}
{A} can be seen
{A} is what we see
what we see is {A}
all we see is {A}
all there is is {A}
*nothing but {A}
I'd like {A}
I want {A}
give me {A}
can I have {A}
can you show {A}
could you render {A}
make {A}
draw {A}
put {A} on the floor
*{A.bare} alone
*{A.bare}, by itself
*a lone {A.bare}
*{A} all by itself
*{A} on its own
object: {A.bare}
subject: {A.bare}
look, {A}
on the floor there is {A}
on the ground we see {A}
in the picture: {A}
inside the frame there is {A}
with {A} in it
something simple: {A}
*{A} please
*{A}, no other things
*{A} without anything else
there is {A} there
{A} exists
*the floor with {A} on it
a single thing: {A}
nothing but {A}
only one object, {A}
there is one thing in the scene: {A}
all you see is {A}
all there is: {A}
{A}, alone
{A} and no other thing
{A} and nothing else
a scene with only {A}

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
*a picture of {A} and {B}
you can see {A} and {B}
we see {A} and {B}
what we see: {A}, {B}
I'd like {A} and {B}
I want {A} and {B}
give me {A} and {B}
can I have {A} and {B}
can you show {A} and {B}
could you render {A} with {B}
make {A} and {B}
put {A} and {B} on the floor
place {A} on the floor, and {B} too
objects: {A.bare}, {B.bare}
object 1: {A.bare}. Object 2: {B.bare}.
first object {A}, second object {B}
*{A} & {B}
*{A} / {B}
*{A}, also {B}
*{A}, plus {B}
*{A}, {B} too
*{A}, and in addition {B}
*{A}. And {B}.
*{A}. Also {B}.
*{A}; {B}
there's {A} and there's {B}
there is {A}, and there is {B}
there is {A}. There is also {B}.
{A} is there, {B} too
*{A} in company of {B}
not only {A} but also {B}
*next to nothing else, {A} and {B}
*{A} and {B}, that's all
just {A} and {B}
*only {A} and {B}
*nothing but {A} and {B}
*{A} and {B} please
*a pair: {A} and {B}
*two objects, {A} and {B}
two of them: {A}, {B}
in the picture: {A}, {B}
on the floor there are {A} and {B}
on the ground {A} and {B}
the floor holds {A} and {B}
*{A} accompanied by {B}
{A} has company from {B}
*one {A.bare}, one {B.bare}
*one {A.bare} and one {B.bare}
add {B} to {A}
apart from {A} we see {B}
in addition to {A} there is {B}
I see {A}, I see {B}
both {A} and {B}
*{A}, and then {B}
*1) {A} 2) {B}
{A} has {B} for company
{A} is not alone, there is {B} too
{B} is there as well as {A}
{B} is there in addition to {A}
a scene with {A} and {B}

""",
}
