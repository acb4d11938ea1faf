"""How to read a comparison, in plain words: for people who do not read statistics."""

from __future__ import annotations

from typing import Final

_SAME_NOISE: Final = (
    "Every setting made the same prompts from the same starting noises. So what differs within a row is what the "
    "setting did, and a prompt or a seed that is easy for one setting is easy for all."
)
_OTHER_NOISE: Final = (
    "Every setting made the same prompts, but not from the same starting noises: what differs within a row is partly "
    "luck, and more images are needed than with the same seeds."
)
_READING: Final = """\
Only images of one prompt compare. A score of one prompt says nothing about a score of another, so nothing here is an \
average of raw scores over prompts: all figures are differences within a row, averaged.

A difference is in points, the scorer's own unit. The interval is where the true difference lies, for as many \
comparisons out of a hundred as its percentage says. An interval that holds zero has not told the two settings apart.

"clear: better" or "clear: worse": the difference would be very unlikely if the settings were alike, counting how \
many settings were tried, and its interval leaves zero out. "leaning better" or "leaning worse": it points one way, \
but a run with other seeds may turn it round. "no evidence": nothing was found, which is not the same as "they are \
alike"; look at the smallest difference that this grid would show. More prompts tell more than more seeds of one \
prompt.

"May be the best": no other setting is clearly above it. One that is not clearly worse than the reference can still \
be clearly below another one.

z says how far an image lies from the mean of its row, in standard deviations of that row: it colours the pictures, \
and with two settings it is always plus or minus 0.7. Elo counts rows won, not points: 0 is the middle, and 100 more \
wins 64 rows of 100; +- is its standard error. "Holm" in a head means that intervals and p allow for the number of \
comparisons made.

The best of many looks better than it is. Whichever setting comes out on top was also lucky, so expect less of it \
next time, the less the closer it is to the others and the fewer images there are. To know how much it is really \
worth, run it once more against the reference with new seeds.

Best of n: picking the best of n seeds is a gain by itself, and a part of it is luck in the score rather than a better \
picture. The curves compare settings with each other; they do not promise that people see the gain.

A scorer is a model of taste, trained on what some people preferred. It likes some looks for themselves: contrast, \
saturation, detail. Look at the pictures before you believe the numbers."""


def how_to_read(seeds_shared: bool) -> str:
    """Return the words; `seeds_shared` tells whether one seed meant the same noise under every setting."""
    return f"{_SAME_NOISE if seeds_shared else _OTHER_NOISE}\n\n{_READING}"
