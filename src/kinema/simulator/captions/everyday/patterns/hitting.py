"""A thing hits another, with what follows left open or nothing. The package describes the notation."""

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
{A} {go.s} {dir?} and meets {B} with a bump
{A} {go.s} {dir?} and there it {hit.s} {B}
{A} {go.s} {dir?} and bumps {B}
{A} {go.s} {dir?} and collides with {B}
{A} {go.s} {dir?} right into {B}
{A} {go.s} {dir?} and then into {B}
{A} {go.s} up against {B}
{A} bumps against {B}
{A} bumps {B}
{A} strikes {B} from the side
{A} gets into a collision with {B}
{A} has a collision with {B}
{A} has a crash with {B}
{A} comes into collision with {B}
{A} crashes, and what it hits is {B}
{A} touches {B} with a bump
{A} reaches {B} and {hit.s} it
{A} gets to {B} and {hit.s} it
{A} goes for {B} and {hit.s} it
{A} makes straight for {B} and {hit.s} it
{A} does not stop before {B} and {hit.s} it
{A} doesn't miss {B}
{A} and {B} collide
{A} and {B} bump into each other
{A} and {B} meet with a crash
{A} and {B} hit each other
there's a collision of {A} with {B}
there's a crash: {A} into {B}
there is a collision, {A} {hit.s} {B}
a collision between {A} and {B}
bang! {A} {hit.s} {B}
crash! {A} {hit.s} {B}
bump! {A} {hit.s} {B}
{B} gets bumped by {A}
{B} gets hit from the side by {A}
{B} gets run into by {A}
{B} is hit from the side by {A}
{B} is rammed by {A}
{B} is the thing that {A} {hit.s.A}
{B} is the target, {A} {hit.s.A} it
{B} does not get out of the way and {A} {hit.s.A} it
{B} receives a blow from {A}
{B} receives a bump from {A}
what happens if {A} {hit.s} {B}
what happens when {A} {hit.s} {B}
what does it look like when {A} {hit.s} {B}
how {A} {hit.s} {B}
I want {A} to {hit.base} {B}
I want to see {A} {hit.base} {B}
*{A} on a collision with {B}
*{A.bare} crashing into {B.bare}
*{A.bare} bumping into {B.bare}
*the moment when {A} {hit.s} {B}
the hitter is {A}, the one that gets hit is {B}
the one that {hit.s.A} is {A}, the one it {hit.s.A} is {B}
one thing, {A}, {hit.s.A} another thing, {B}
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
{A} {hit.s} {B}, which doesn't move
{A} {hit.s} {B}, and it does not move
{A} {hit.s} {B} but can't move it
{A} {hit.s} {B} but it won't budge
{A} {hit.s} {B}, but it stays in its place
{A} {go.s} into {B}, which stays where it is
{A} runs against {B}, and {B.noun} stays put
{B} doesn't move when {A} {hit.s.A} it
{B} does not move although {A} {hit.s.A} it
{B} stays in its place although {A} {hit.s.A} it
{B} resists {A}, which {hit.s.A} it
{B} is hit by {A} but doesn't move
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
