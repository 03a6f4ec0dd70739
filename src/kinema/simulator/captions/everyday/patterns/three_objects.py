"""Three different objects at rest. The package describes the notation."""

from __future__ import annotations

MAINS: dict[str, str] = {
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
{A}, {B}, {C}: from left to right
the middle one of three is {B}, with {A} and {C} around it
{B} has its place between {A} and {C}
*{B} standing between {A} and {C}
place {B} between {A} and {C}
you'll find {B} between {A} and {C}
{B} is enclosed by {A} and {C}
{A} is on one side of {B}, {C} on the other
on one side of {B} is {A}, on the other {C}
left to right: {A}, {B}, {C}
in the middle {B}, around it {A} and {C}
{A} and {C} keep {B} between them
{A} and {C} have {B} between them
{A} stands left of {B}, and {C} stands right of it
{C} stands right of {B}, and {A} stands left of it
{B} with {A} to its left and {C} to its right
{B} with {C} to its right and {A} to its left
*{A}, next to it {B}, next to that {C}
next to {A} is {B}, and next to {B} is {C}
first {A}, second {B}, third {C}, counted from the left
counted from the left: {A}, {B}, {C}
seen from the left: {A}, {B}, {C}
reading from the left: {A}, {B} and then {C}
{B} is surrounded by {A} and {C}
{B} is sandwiched between {A} and {C}
{A}, {B} and {C} side by side, in this order
in this order: {A}, {B}, {C}
a row: {A}, {B}, {C}
a line of {A}, {B} and {C}
things next to each other: {A}, {B}, {C}
the left one is {A}, the middle one {B}, the right one {C}
{A} is the left one, {C} the right one, and {B} is between them
{B} is halfway between {A} and {C}
{B} separates {A} from {C}
there is {B}, and on its sides there are {A} and {C}
to the left of {B} is {A}, to the right is {C}
{A} | {B} | {C}
*left {A.bare}, centre {B.bare}, right {C.bare}
*{A.bare} left, {B.bare} centre, {C.bare} right
show {A}, {B} and {C} from left to right
arrange {A}, {B} and {C} from left to right
stand {B} between {A} and {C}
I want {B} between {A} and {C}
I would like {A} on the left, {B} in the middle, {C} on the right
can I have {B} with {A} and {C} on its sides
in the centre {B}, left of it {A}, right of it {C}
in the centre we see {B}, and beside it {A} and {C}
{B} takes the middle place, {A} the left one and {C} the right one
{A}, {B}, {C}, standing in a row
{A}, {B} and {C} stand in a row
on the outside {A} and {C}, on the inside {B}
the outer ones are {A} and {C}, the inner one is {B}
at the left end {A}, at the right end {C}, and {B} between them

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
I want {A}, {B} and {C}
objects: {A.bare}, {B.bare}, {C.bare}
we see {A}, {B} and {C}
there are {A}, {B} and {C}
put {A}, {B} and {C} on the floor
*{A}, plus {B}, plus {C}
just {A}, {B} and {C}
give me {A}, {B} and {C}
one {A.bare}, one {B.bare}, one {C.bare}
*{A}, also {B}, also {C}
these objects: {A}, {B}, {C}
a group: {A}, {B}, {C}
*{A} with {B} and {C}
*{A} together with {B} and {C}
*{A}, accompanied by {B} and {C}
{A} is there, and so are {B} and {C}
there is {A}, there is {B} and there is {C}
there's {A}, {B} and also {C}
you see {A}, {B} and {C}
you can see {A}, {B}, and {C}
in the picture: {A}, {B}, {C}
the picture shows {A}, {B} and {C}
the scene has {A}, {B} and {C}
the scene: {A}, {B}, {C}
a scene with {A}, {B} and {C}
*{A}; {B}; {C}
*{A} + {B} + {C}
*{A} & {B} & {C}
*{A.bare} + {B.bare} + {C.bare}
*{A.bare} and {B.bare} and {C.bare}
*1) {A} 2) {B} 3) {C}
first {A}, then {B}, finally {C}
add {A}, {B} and {C}
show me {A}, {B} and {C}
can I see {A}, {B} and {C}
can I get {A}, {B} and {C}
let there be {A}, {B} and {C}
please include {A}, {B} and {C}
{A}, {B} and {C} are on the ground
{A}, {B} and {C} stand there
{A}, {B} and {C} are in the scene
{A}, {B} and {C} share the floor
on the ground we have {A}, {B} and {C}
along with {A} and {B} there is {C}
apart from {A} there are {B} and {C}

""",
}
