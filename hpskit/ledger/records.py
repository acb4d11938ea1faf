"""What the ledger answers with: rows, pages, facets, settings compared, picks and how well they agree with a scorer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ..errors import LedgerError

SORTS: Final = ("time", "score", "standing", "seed", "model", "sampler", "steps", "cfg")
OUTCOMES: Final = ("pick", "tie", "skip")
KINDS: Final = ("pair", "grid")
MAX_LIMIT: Final = 1000
LONGEST: Final = 2000
"""Characters of a text in a list."""
_SAME: Final = (
    *("id", "time", "prompt", "prompt_id", "negative", "model", "sampler", "scheduler", "steps", "cfg", "denoise"),
    *("width", "height", "scorer", "scorer_version", "preprocess", "fingerprint", "score", "standing"),
    *("file", "source", "run"),
)
"""Fields of a row that its JSON has as they are."""


def shortened(text: str, longest: int | None) -> str:
    """Return a text, or its first `longest` characters and "..." when it has more."""
    return text if longest is None or len(text) <= longest else f"{text[:longest]}..."


@dataclass(frozen=True)
class Query:
    """Which rows, in which order; every filter that is given must hold. LedgerError on an order or a range unknown.

    Rows without a value to sort by come last in both directions; equal ones newest first.
    """

    prompt_id: int | None = None
    prompt: str | None = None
    """Exact text of the prompt."""
    model: str | None = None
    sampler: str | None = None
    scheduler: str | None = None
    scorer: str | None = None
    """Name of the scorer, in all its versions."""
    source: str | None = None
    search: str = ""
    """Part of the prompt, upper and lower case alike."""
    since: float | None = None
    """Unix seconds, included."""
    until: float | None = None
    """Unix seconds, left out."""
    sort: str = "time"
    descending: bool = True
    limit: int = 100
    """1 to 1000."""
    offset: int = 0

    def __post_init__(self) -> None:
        if self.sort not in SORTS:
            raise LedgerError(f"The ledger cannot sort by {self.sort!r}; choose one of: {', '.join(SORTS)}.")
        if not 1 <= self.limit <= MAX_LIMIT:
            raise LedgerError(f"A page of {self.limit} rows is not possible; ask for 1 to {MAX_LIMIT}.")
        if not 0 <= self.offset < 2**63:
            raise LedgerError(f"Rows cannot be counted from {self.offset}; the offset starts at 0.")


@dataclass(frozen=True)
class Row:
    """One entry of the ledger with its number, its time and its place in its group."""

    id: int
    time: float
    prompt: str
    prompt_id: int
    scorer: str
    scorer_version: str
    preprocess: str
    dtype: str
    checkpoint: str
    fingerprint: str
    score: float
    parts: Mapping[str, float]
    negative: str
    model: str
    loras: tuple[tuple[str, float], ...]
    sampler: str
    scheduler: str
    steps: int | None
    cfg: float | None
    denoise: float | None
    width: int
    height: int
    seed: int | None
    image_hash: str
    file: str
    workflow_kind: str
    source: str
    run: str
    extra: Mapping[str, Any]
    group_n: int
    """Rows with the same prompt and fingerprint, this one included."""
    group_mean: float
    group_sd: float
    """Sample standard deviation (n - 1); 0 for one row."""
    standing: float | None
    """(score - group_mean) / group_sd; None for a group of one and of equal scores."""
    has_thumbnail: bool
    has_workflow: bool

    def as_json(self, longest: int | None = LONGEST) -> dict[str, Any]:
        """Return the row as the routes send it: the seed as text, since a browser's numbers end at 2^53.

        Prompts above `longest` characters are cut, and end with "..."; None keeps them whole.
        """
        return {name: getattr(self, name) for name in _SAME} | {
            "prompt": shortened(self.prompt, longest),
            "negative": shortened(self.negative, longest),
            "loras": [list(lora) for lora in self.loras],
            "seed": None if self.seed is None else str(self.seed),
            "parts": dict(self.parts),
            "group": {"n": self.group_n, "mean": self.group_mean, "sd": self.group_sd},
            "thumbnail": self.has_thumbnail,
            "workflow": self.has_workflow,
        }


@dataclass(frozen=True)
class Page:
    """A page of rows, and how many rows pass the filters in all."""

    rows: tuple[Row, ...]
    total: int


@dataclass(frozen=True)
class Facet:
    """One value that rows can be filtered by, with how many rows have it and when the newest was written."""

    id: int | None
    """Of a prompt; None for everything else."""
    value: str
    n: int
    time: float


@dataclass(frozen=True)
class Facets:
    """The values in use, the most recent first."""

    prompts: tuple[Facet, ...] = ()
    models: tuple[Facet, ...] = ()
    samplers: tuple[Facet, ...] = ()
    schedulers: tuple[Facet, ...] = ()
    scorers: tuple[Facet, ...] = ()


@dataclass(frozen=True)
class Setting:
    """How one value of a setting did; see `Ledger.compare`."""

    value: str
    n: int
    groups: int
    """Groups (prompt and fingerprint) among which at least one other value occurs too."""
    mean: float | None
    """Mean score; None when the rows come from different fingerprints, whose scores have no common mean."""
    gain: float | None
    """Mean of score less group mean, over those groups; None when there are none."""
    sd: float | None
    """Sample standard deviation of the same; None below two rows."""
    wins: int
    """Pairs in which this value scored higher."""
    pairs: int
    """Same prompt, fingerprint and seed with another value of the setting; equal scores left out."""


@dataclass(frozen=True)
class Pick:
    """What a person chose among the rows shown, in the order shown; LedgerError when it contradicts itself."""

    shown: tuple[int, ...]
    chosen: int | None = None
    """Id of the row chosen; None for a tie and a skip."""
    outcome: str = "pick"
    kind: str = "pair"
    seconds: float | None = None
    """How long it took."""
    time: float | None = field(default=None, compare=False)
    """Unix seconds; now when None."""

    def __post_init__(self) -> None:
        if self.outcome not in OUTCOMES or self.kind not in KINDS:
            raise LedgerError(
                f"A pick is one of {', '.join(OUTCOMES)} from one of {', '.join(KINDS)}, not {self.outcome!r} from "
                f"{self.kind!r}."
            )
        if len(set(self.shown)) != len(self.shown) or not 2 <= len(self.shown) <= MAX_LIMIT:
            raise LedgerError(f"A pick needs 2 to {MAX_LIMIT} different rows to choose from, not {len(self.shown)}.")
        if self.kind == "pair" and len(self.shown) != 2:
            raise LedgerError(f"A pair has two rows, not {len(self.shown)}.")
        if (self.outcome == "pick") != (self.chosen is not None and self.chosen in self.shown):
            raise LedgerError("A pick names one of the rows shown; a tie and a skip name none.")


@dataclass(frozen=True)
class Agreement:
    """How often a person chose the image with the higher score; see `Ledger.agreement`."""

    n: int
    """Picks that could be compared: every image has a score of one scorer, and the two compared differ."""
    agree: int
    ties: int
    skips: int
    rate: float | None
    """agree / n; None when n is 0."""
    low: float
    high: float
    """Ends of the 95 % Wilson interval of the rate; 0 and 1 when n is 0."""
    prompts: int
    """Different prompts among the n."""
    enough: bool
    """15 picks over 5 prompts; with fewer the rate says little, or says it about one prompt only."""


@dataclass(frozen=True)
class Summary:
    """What the ledger holds."""

    rows: int
    prompts: int
    """Different prompts of the rows."""
    picks: int
    bytes: int
    """On disk, with the write-ahead log."""
    max_bytes: int
    oldest: float | None
    newest: float | None
