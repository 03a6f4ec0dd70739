"""The grammar of the audit: verb phrases, camera moves and environments, independent of the captions."""

from __future__ import annotations

import re


def forms(*verbs: str) -> str:
    """A pattern for all forms of some verbs."""
    found: set[str] = set()
    for verb in verbs:
        stem = verb[:-1] if verb.endswith("e") else verb
        found |= {verb, verb + "s", verb + "es", stem + "ing", verb + verb[-1] + "ing"}
        if verb.endswith("ie"):
            found.add(verb[:-2] + "ying")
        if verb.endswith("y"):
            found.add(verb[:-1] + "ies")
    if "be" in verbs:
        found |= {"is", "are", "being"}
    return "(?:" + "|".join(sorted(map(re.escape, found), key=len, reverse=True)) + ")"


NOT = r"(?:does not|do not|doesn't|don't|not|is not)"
THING = r"(?P<o><[^>]+>|it|them)"
SPEED = (
    r"(?P<speed>slowly|gently|unhurriedly|lazily|quickly|swiftly|at high speed|fast|rapidly|at full speed)"
)
SLOW_ADVERBS = ("slowly", "gently", "unhurriedly", "lazily")
DIRECTION = (
    r"(?:from right to (?P<dl1>left)|from left to (?P<dl2>right)"
    r"|(?P<da>away from (?:the camera|the viewer|us)|(?:off )?into the distance|away(?! from| to the))"
    r"|(?P<dt>towards? (?:the )?(?:camera|viewer)|towards us|to the front|straight at us)"
    r"|(?:off |over |away )?(?:to |towards? )?(?:the )?(?P<dl3>left|right)(?:-hand side|ward)?(?! side)\b"
    r"|(?P<dd>downward|down)|(?P<ds>aside|to one side|out of the way))"
)
SIDE = r"(?:(?:over )?(?:on|at) the )?(?P<side>left|right)(?:-hand side| side)?\b"
TURN = r"(?P<turn>clockwise|counterclockwise|anticlockwise)(?: seen from above)?"
MOTION_VERBS = {
    "roll": ("roll", "trundle"),
    "drive": ("drive", "cruise"),
    "slide": ("slide", "glide", "skid"),
    "tumble": ("tumble",),
    "move": ("move", "travel"),
    "quick": ("zoom", "race", "shoot", "dash", "speed", "zip"),
    "slow": ("creep", "crawl"),
}
MOVING = "(?P<verb>" + "|".join(forms(*verbs) for verbs in MOTION_VERBS.values()) + ")"
BE = r"(?:is |are |being |stands? |standing |sits? |sitting |rests? |resting |lies? |lying |)"

# (kind, pattern). The first match wins, so longer and more specific patterns come first.
PREDICATES: tuple[tuple[str, str], ...] = (
    (
        "slides down",
        rf"(?:{forms('go', 'come')} )?{MOVING}(?: {SPEED})? down {THING}(?:,? heading)? {DIRECTION}",
    ),
    ("slides down", rf"(?:{MOVING}|{forms('go')}) {DIRECTION} down {THING}"),
    ("slides down", rf"{forms('go')} down {THING} {DIRECTION}"),
    (
        "swings",
        rf"(?:{forms('dangle')} from a rod and )?{forms('swing')}(?: to and fro| back and forth)?(?: on a "
        rf"rod| like a pendulum)?(?! round)",
    ),
    ("leaves", rf"{forms('leave')} the (?:frame|picture)|{forms('move')} out of the frame"),
    ("leaves", rf"{forms('go')} off screen"),
    ("leaves", rf"{forms('disappear')} out of the shot"),
    ("leaves", r"until (?:it|they) (?:is|are) (?:out of view|gone from the picture)"),
    ("leaves", rf"until (?:it|they) {forms('leave')} the frame"),
    (
        "hides",
        rf"(?:{forms('disappear', 'vanish', 'go', 'pass', 'slip', 'duck', 'hide')}|{forms('move')} out of "
        rf"sight) behind {THING}",
    ),
    (
        "re-emerges",
        rf"(?:{forms('reappear', 'emerge')}|{forms('come', 'pop')} out|{forms('come')} back into view|"
        rf"{forms('show', 'turn')} up again) {SIDE}",
    ),
    ("stays hidden", rf"{forms('stay', 'remain')} hidden|{NOT} (?:come|pop|coming|popping) out again"),
    ("stays hidden", rf"{forms('stay')} out of sight"),
    (
        "stays hidden",
        rf"{NOT} {forms('reappear')}|{NOT} (?:show|showing) up again|{forms('stay')} back there",
    ),
    ("in front", rf"{forms('pass', 'move', 'cross')} in front of {THING}"),
    ("in front", rf"{forms('go')} by in front of (?P<o2><[^>]+>|it)"),
    ("in front", rf"{forms('scoot')} past in front of (?P<o3><[^>]+>|it)"),
    (
        "short of",
        rf"(?:{forms('stop')} (?:before reaching|short of)|{NOT} {forms('reach')}|{NOT} (?:make|making) it "
        rf"to|{NOT} (?:get|getting) as far as) {THING}",
    ),
    (
        "short of",
        rf"(?:{forms('give')} up before reaching|{forms('come')} to rest before (?:it|they) "
        rf"{forms('reach')}) {THING}",
    ),
    (
        "misses",
        rf"(?:{forms('pass')}(?: by)?|{forms('go')} past|{forms('sail')} right past|{forms('go')} by) "
        rf"{THING} (?:without touching|but {NOT} {forms('touch')}|and {forms('miss')}) (?:it|them)",
    ),
    ("misses", rf"(?:{forms('miss')}|{NOT} {forms('hit')}) {THING}"),
    ("bounces none", rf"{forms('land')} without bouncing|{forms('hit')} the ground without bouncing"),
    ("bounces none", rf"{NOT} {forms('bounce')}"),
    (
        "hits",
        rf"(?:{forms('meet')} {THING} with a bump|(?:{forms('hit', 'strike')}|{forms('collide')} with|"
        rf"{forms('bump', 'run', 'crash', 'smack', 'bang', 'slam')} into|{forms('knock')} against) "
        rf"(?P<o2><[^>]+>|it|them)(?! end))",
    ),
    ("falls onto", rf"{forms('fall', 'drop')} onto {THING}|{forms('come')} down on (?P<o2><[^>]+>)"),
    ("tips it", rf"{forms('knock', 'tip')} {THING} over"),
    ("flung", rf"(?:{forms('knock')}|{forms('send')}) {THING} flying(?: {DIRECTION})?"),
    (
        "seesaw",
        rf"(?:{forms('tip')} {THING} down {SIDE}|{forms('make')} (?P<o2><[^>]+>|it) tip down (?:on the |"
        rf"over on the |at the )?(?P<side2>left|right)(?:-hand side| side)?)",
    ),
    ("seesaw", rf"(?:{forms('push', 'send', 'slam')}) the (?P<side>left|right) end of {THING} down"),
    (
        "fallen",
        rf"(?:{forms('knock', 'bring')} down|{forms('bowl')} over|{forms('flatten')}) (?P<some><[^>]+>)",
    ),
    ("fallen", rf"{forms('knock')} (?P<some2><[^>]+>) over"),
    ("fallen none", rf"{NOT} (?:knock|knocking) (?P<some><[^>]+>) down"),
    ("fallen none", rf"{NOT} (?:knock|knocking) down (?P<some2><[^>]+>)"),
    (
        "pushed",
        rf"(?:{forms('push', 'shove', 'drive', 'knock', 'send')}|{forms('set')}) {THING}(?: off| moving)? "
        rf"{DIRECTION}",
    ),
    ("stays", rf"{NOT} (?:move|moving)(?: at all)?"),
    ("stays", rf"{forms('stay')} (?:where (?:it|they) (?:is|are)|in place|put(?! on))"),
    ("stays", rf"{forms('remain')} still|{NOT} (?:budge|budging)"),
    ("bounces back", rf"{forms('bounce')} (?:right )?back|{forms('rebound')}|{forms('turn')} back"),
    ("bounces back", rf"{forms('spring')} back"),
    (
        "topples",
        rf"(?:{forms('fall')} over one after another from|{forms('topple')} one after another, starting on|"
        rf"{forms('fall')} over one by one from|{forms('topple')} in a chain from|{forms('topple')} from|"
        rf"{forms('go')} down one after another from|{forms('tumble')} one by one, beginning on) the "
        rf"(?P<side>left|right)",
    ),
    ("chain stops", r"the chain stops (?:after (?P<number><[^>]+>|[a-z]+)|early|before the end)"),
    ("only fall", r"only (?P<some><[^>]+>) falls?"),
    ("lands on", rf"{forms('land')} on {THING} and {forms('stay')} there"),
    (
        "lands on",
        rf"(?:{forms('land')} on top of|{forms('land', 'settle')} on|{forms('come')} to rest on|"
        rf"{forms('end')} up on top of|{forms('plop')} down on) (?P<o2><[^>]+>|it)",
    ),
    (
        "falls beside",
        rf"(?:{forms('land')} (?:beside|next to)|{forms('end')} up (?:beside|next to)|{forms('come')} to "
        rf"lie next to|{forms('plop')} down beside) {THING}",
    ),
    (
        "falls off",
        rf"(?:{forms('fall', 'drop', 'tumble', 'plunge', 'go')}) (?:off|over)(?: the (?:edge|end) of)? "
        rf"{THING}(?: and {forms('fall')} down)?",
    ),
    (
        "falls in",
        rf"(?:{forms('fall', 'drop', 'plop')} into|{forms('land')} (?:inside|right in)|{forms('end')} up "
        rf"(?:inside|in)) {THING}",
    ),
    (
        "rests on",
        rf"(?:{forms('rest', 'stay', 'remain')} on|{forms('stay')} put on|{forms('sit')} still on) "
        rf"{THING}(?: without moving)?",
    ),
    ("thrown", rf"(?:{forms('be')} )?(?:thrown(?: up)?|tossed|launched) into the air"),
    ("thrown", rf"{forms('fly')} up into the air|{forms('go')} flying up"),
    ("thrown", rf"(?:{forms('be')} )?flung upward"),
    ("stands", rf"{forms('stay', 'remain', 'keep')} (?:standing|upright|on its feet)"),
    ("stands", rf"{NOT} (?:fall|falling) (?:over|down)"),
    ("falls", rf"{forms('fall')} from above|{forms('drop')} (?:down|from the air)"),
    ("falls", rf"{forms('fall')} through the air|{forms('come')} falling down"),
    ("falls", rf"{forms('plunge')} down|{forms('come')} down from above"),
    ("falls or topples", rf"{forms('fall')} (?:down|over)|{forms('come')} down|{forms('collapse')}"),
    ("falls or topples", rf"{forms('topple')}(?! over)|falls?"),
    ("tips over", rf"{forms('tip', 'keel', 'tumble', 'flop', 'topple')} over|{forms('tip')} onto its side"),
    (
        "bounces",
        rf"{forms('bounce', 'hop')} (?P<height>high into the air|high|way up high|a little|slightly|just a "
        rf"bit|a tiny bit)",
    ),
    ("stops on", rf"(?:{forms('stop')} on|{forms('come')} to a stop on|{forms('end')} up still on) {THING}"),
    ("stops", rf"{forms('come')} to (?:a stop|rest|a halt)"),
    ("stops", rf"{forms('slow')} down until (?:it|they) {forms('stop')}|{forms('stop')}"),
    ("stops", rf"{forms('end')} up still"),
    ("left of", rf"{BE}(?:placed )?(?:to the left of|on the left(?:-hand side)? of|left of) {THING}"),
    ("right of", rf"{BE}(?:placed )?(?:to the right of|on the right(?:-hand side)? of|right of) {THING}"),
    ("middle", rf"{BE}(?:the one )?in the middle"),
    ("on side", rf"{BE}on the (?P<side>left|right)\b(?! side|-hand)"),
    ("between", rf"{BE}between {THING} on the left and (?P<o2><[^>]+>) on the right"),
    ("row", rf"{BE}(?:(?:all |lined up )?in a row|lined up)(?:, from left to right| from left to right)?"),
    ("row", rf"{BE}side by side"),
    (
        "circles",
        rf"(?:{forms('circle')} around|{forms('circle', 'orbit')}|{forms('travel')} around|{forms('fly')} "
        rf"in circles around|{forms('go')} round and round|{forms('loop')} around) {THING}(?: {SPEED})? "
        rf"{TURN}",
    ),
    (
        "spins",
        rf"(?:{forms('spin', 'rotate', 'revolve', 'whirl')}|{forms('turn')} in place|{forms('twirl')} "
        rf"around|{forms('keep')} turning)(?: {SPEED})? {TURN}(?: (?P<speed2>slowly|gently|unhurriedly|"
        rf"lazily|quickly|swiftly|at high speed|fast|rapidly|at full speed))?",
    ),
    (
        "moves",
        rf"(?:{forms('go', 'come', 'keep')} |{forms('continue')} to )?(?:{SPEED} )?{MOVING}(?: by)?(?: "
        rf"(?P<speed2>slowly|gently|unhurriedly|lazily|quickly|swiftly|at high speed|fast|rapidly|at full "
        rf"speed))?(?:, heading)? {DIRECTION}(?: (?P<speed3>slowly|gently|unhurriedly|lazily|quickly|"
        rf"swiftly|at high speed|fast|rapidly|at full speed))?",
    ),
    ("speed", rf"{forms('move', 'go')} {SPEED}"),
    (
        "exists",
        rf"(?:{forms('stand', 'rest', 'sit', 'lie', 'be')} )?(?:right there )?on the (?:ground|floor)",
    ),
    ("behind", rf"{forms('stand')} in the background"),
)
COMPILED_PREDICATES = tuple((kind, re.compile(rf"(?:{pattern})(?![\w-])")) for kind, pattern in PREDICATES)

CAMERA_LABELS = {
    "static shot": "static",
    "fixed camera": "static",
    "pan left": "pan left",
    "panning shot to the left": "pan left",
    "pan right": "pan right",
    "panning shot to the right": "pan right",
    "tilt up": "tilt up",
    "tilt down": "tilt down",
    "zoom in": "zoom in",
    "zoom out": "zoom out",
    "dolly in": "dolly in",
    "push in": "dolly in",
    "dolly out": "dolly out",
    "pull back": "dolly out",
    "orbit left": "orbit left",
    "orbit right": "orbit right",
    "truck left": "truck left",
    "tracking shot to the left": "truck left",
    "truck right": "truck right",
    "tracking shot to the right": "truck right",
    "crane up": "crane up",
    "crane down": "crane down",
}
CAMERA_PREDICATES: tuple[tuple[str, str], ...] = (
    ("static", r"does not move|stays still|is still|stays put|holds still"),
    ("pan {}", r"(?:pans|turns|swings round) (?:to the )?(?P<side>left|right)"),
    ("tilt up", r"tilts up(?:ward)?|looks upward"),
    ("tilt down", r"tilts down(?:ward)?|looks downward"),
    ("zoom in", r"zooms in(?: slowly| closer)?"),
    ("zoom out", r"zooms (?:back )?out(?: slowly)?"),
    ("dolly in", r"(?:moves|creeps|gets) closer|pushes in|moves forward|dollies in"),
    ("dolly out", r"pulls back|moves backward|dollies out|moves away|backs away|drifts backward"),
    ("orbit {}", r"(?:circles|orbits|arcs|goes)(?: around)? to the (?P<side>left|right)"),
    ("truck {}", r"(?:slides|tracks|trucks|drifts|moves sideways) (?:to the )?(?P<side>left|right)"),
    ("crane up", r"rises|moves up|cranes up|floats upward|lifts up"),
    ("crane down", r"sinks down|moves down|cranes down|floats downward|comes down|lowers"),
)
CAMERA_CLAUSE = re.compile(
    r"(?:^(?:meanwhile, |throughout, )?|,? (?:as|while) )the camera (?P<clause>[a-z ]+?)(?=$|[.,])"
)
CAPTION_OPENING = re.compile(
    r"^(?:a video of|a clip of|footage of|a short film of|an animation of"
    r"|look,|we see how|watch how|you can see how)\s"
)
ENVIRONMENTS: dict[str, tuple[str, str]] = {
    "machine": ("sky", "laboratory"),
    "first stars": ("sky", "city at night"),
    "meadow": ("sky", "park"),
    "mist": ("sky", "sunrise"),
    "still water": ("sky", "open sky"),
    "blue sky beside": ("sky", "open sky"),
    "wide square": ("sky", "city street"),
    "curtains": ("sky", "hall"),
    "savanna": ("sky", "city at night"),
    "rocky": ("sky", "dawn field"),
    "palace": ("sky", "rooftop sunset"),
    "photo studio": ("sky", "photo studio"),
    "clear blue sky": ("sky", "clear blue sky"),
    "sunny day": ("sky", "clear blue sky"),
    "bright sunshine": ("sky", "clear blue sky"),
    "partly cloudy sky": ("sky", "cloudy sky"),
    "cloudy day": ("sky", "cloudy sky"),
    "drifting clouds": ("sky", "cloudy sky"),
    "overcast sky": ("sky", "overcast sky"),
    "dull grey day": ("sky", "overcast sky"),
    "at sunset": ("sky", "sunset"),
    "evening light": ("sky", "sunset"),
    "sun goes down": ("sky", "sunset"),
    "at dawn": ("sky", "dawn"),
    "early morning": ("sky", "dawn"),
    "daybreak": ("sky", "dawn"),
    "at night": ("sky", "night"),
    "moonlight": ("sky", "night"),
    "stars": ("sky", "night"),
    "bright studio": ("sky", "studio"),
    "plain studio": ("sky", "studio"),
    "dark studio": ("sky", "dark studio"),
    "dark backdrop": ("sky", "dark studio"),
    "pastel": ("sky", "pastel studio"),
    "forest": ("sky", "forest"),
    "woods": ("sky", "forest"),
    "warehouse": ("sky", "warehouse"),
    "workshop": ("sky", "workshop"),
    "apartment": ("sky", "apartment"),
    "lobby": ("sky", "lobby"),
    "sunrise": ("sky", "sunrise"),
    "footbridge": ("sky", "bridge"),
    "city square": ("sky", "city street"),
    "shopping": ("sky", "esplanade"),
    "hall": ("sky", "hall"),
    "waterfront": ("sky", "waterfront"),
    "beside the water": ("sky", "waterfront"),
    "bright room": ("sky", "apartment"),
    "even light": ("sky", "lab light"),
    "wooden floor": ("floor", "wooden floor"),
    "wooden boards": ("floor", "wooden floor"),
    "checkered floor": ("floor", "checkered floor"),
    "white squares": ("floor", "checkered floor"),
    "grass": ("floor", "grass"),
    "lawn": ("floor", "grass"),
    "on sand": ("floor", "sand"),
    "snow": ("floor", "snow"),
    "concrete": ("floor", "concrete floor"),
    "tile": ("floor", "tiled floor"),
    "carpet": ("floor", "carpet"),
    "marble floor": ("floor", "marble floor"),
    "polished marble": ("floor", "marble floor"),
    "asphalt": ("floor", "asphalt"),
    "tarmac": ("floor", "asphalt"),
    "plain floor": ("floor", "plain floor"),
    "gray floor": ("floor", "lab floor"),
    "brick pav": ("floor", "brick pavement"),
    "trees": ("background", "trees"),
    "small wood": ("background", "trees"),
    "houses": ("background", "houses"),
    "village": ("background", "houses"),
    "hills": ("background", "hills"),
    "mountains": ("background", "mountains"),
    "rocks": ("background", "rocks"),
    "boulders": ("background", "rocks"),
    "buildings": ("background", "city"),
    "columns": ("background", "columns"),
    "brick wall": ("background", "wall"),
    "backdrop wall": ("background", "wall"),
}
