"""A thing hits another and moves it or knocks it over. The package describes the notation."""

from __future__ import annotations

MAINS: dict[str, str] = {
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
{B} is shifted {pdir} by {A}
{B} is displaced {pdir} by {A}
{A} shifts {B} {pdir}
{A} displaces {B} {pdir}
{A} rams {B} and it moves {pdir}
{A} {go.s} into {B} and it moves {pdir}
{A} {go.s} {dir?} into {B}, pushing it {pdir}
{A} {go.s} {dir?} against {B} and moves it {pdir}
{A} runs into {B} and shoves it {pdir}
{A} makes {B} slide {pdir}
{A} makes {B} go {pdir}
{A} causes {B} to move {pdir}
{A} drives {B} {pdir}
{A} takes {B} along {pdir}
{A} knocks {B} {pdir}
{A} knocks {B} out of its place
{A} pushes {B} away
{A} pushes {B} out of the way
{A} pushes {B} aside
{A} pushes {B} along
{A} moves {B} away from where it was
{A} shoves {B} away
{A} bumps {B} and it slides away
{A} bumps {B} so it slides {pdir}
{A} bumps {B} along the floor
{A} hits {B} and it slides away
{A} hits {B} and it goes {pdir}
{A} hits {B}, sending it {pdir}
{A} strikes {B}, and off it goes {pdir}
{B} slides away when {A} {hit.s.A} it
{B} slides along the floor after the hit by {A}
{B} goes off {pdir}, pushed by {A}
{B} goes {pdir} because {A} bumps it
{B} goes sliding {pdir} when {A} bumps it
{B} gets shoved {pdir} by {A}
{B} gets pushed away by {A}
{B} gets moved by {A}
{B} gets a push from {A}
{B} is pushed away by {A}
{B} is pushed aside by {A}
{B} is pushed along by {A}
{B} is pushed out of its place by {A}
{B} is sent {pdir} by {A}
{B} leaves its place as {A} {hit.s.A} it
{B} has to leave its place because {A} {hit.s.A} it
{B} starts sliding when {A} {hit.s.A} it
{B} is set sliding by {A}
{B} moves off {pdir} under the push of {A}
{B} does not stay put when {A} {hit.s.A} it
the push of {A} moves {B} {pdir}
the push comes from {A}, the thing that moves is {B}
*{A.bare} shoving {B.bare} away
*{A.bare} pushing {B.bare} along the floor
*{B.bare} pushed along the floor by {A.bare}
*{B.bare} sliding {pdir} after a hit by {A.bare}
when {A} arrives, {B} is pushed {pdir}
as {A} {hit.s} it, {B} slides {pdir}
struck by {A}, {B} slides {pdir}
bumped by {A}, {B} slides away
pushed by {A}, {B} goes {pdir}
have {A} push {B} {pdir}
I want {A} to push {B} {pdir}
I want {B} to be pushed by {A}
let {B} be pushed {pdir} by {A}
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
{A} makes {B} lie down
{A} sends {B} to the floor
{B} can't keep standing when {A} {hit.s.A} it
first {B} stands, then {A} {hit.s.A} it, then it lies
{A} {hit.s} {B} and {B.noun} lies down
{A} {hit.s} {B} and over it goes
{A} {hit.s} {B} and down it goes
{A} {hit.s} {B}, so it topples
{A} {hit.s} {B}, making it fall
{A} {hit.s} {B}, tipping it over
{A} {hit.s} {B}, and it loses its balance
{A} {go.s} {dir?} into {B}, which falls over
{A} {go.s} {dir?} and makes {B} fall
{A} {go.s} {dir?} and tips {B} over
{A} {go.s} {dir?}, {hit.s} {B}, and {B.noun} falls over
{A} runs into {B} and knocks it down
{A} runs {B} over
{A} bowls {B} over
{A} brings {B} down
{A} brings {B} to its fall
{A} causes {B} to fall over
{A} causes the fall of {B}
{A} topples {B}
{A} throws {B} over
{A} throws {B} off its feet
{A} turns {B} over onto its side
{A} knocks {B} onto its side
{A} knocks {B} to the ground
{A} pushes {B} over
{A} pushes {B} until it falls over
{A} puts {B} on its side
{A} leaves {B} lying on its side
{A} makes {B} tip
{B} doesn't stay upright when {A} {hit.s.A} it
{B} does not remain standing, {A} {hit.s.A} it
{B} falls when {A} {go.s.A} into it
{B} falls flat when {A} {hit.s.A} it
{B} falls, hit by {A}
{B} falls to the ground after a hit by {A}
{B} keels over as {A} {hit.s.A} it
{B} goes over as {A} {hit.s.A} it
{B} is made to fall over by {A}
{B} is toppled by {A}
{B} is tipped over by {A}
{B} is knocked down by {A}
{B} is on the floor after {A} {hit.s.A} it
{B} lies down because {A} {hit.s.A} it
{B} lies flat after {A} {hit.s.A} it
{B} loses to {A} and falls over
{B} tumbles over when {A} {hit.s.A} it
{B} used to stand, then {A} {hit.s.A} it
*{A.bare} toppling {B.bare}
*{A.bare} knocking {B.bare} down
*{A} making {B} fall over
*{B.bare} toppled by {A.bare}
*{B.bare} on its side after {A.bare} {hit.s.A} it
*the fall of {B} after a hit by {A}
struck by {A}, {B} falls over
over goes {B}, hit by {A}
when {A} {hit.s} it, {B} falls over
when {A} {hit.s} it, {B} does not keep standing
as soon as {A} {hit.s} it, {B} topples
one hit by {A} and {B} is down
let {A} push {B} over
let {B} fall over when {A} {hit.s.A} it
I want {A} to knock {B} over
I want {B} to fall over because {A} {hit.s.A} it
""",
}
