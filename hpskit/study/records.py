"""What a comparison of settings consists of: the design, one measured cell each, and what the analysis says of them.

Words: a *setting* is one combination of what is compared (sampler, steps, ...); a *block* is a prompt with a seed, and
every setting is tried on the same blocks; a *cell* is one image: one setting, one prompt, one seed. Scores of different
prompts are never set side by side: all differences are taken within a block.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from ..types import ScorerInfo

if TYPE_CHECKING:
    import numpy as np

Verdict = Literal["clear", "leaning", "no evidence"]
Units = Literal["prompts", "seeds"]

CLEAR: Final[Verdict] = "clear"
LEANING: Final[Verdict] = "leaning"
NO_EVIDENCE: Final[Verdict] = "no evidence"


@dataclass(frozen=True)
class Axis:
    """One thing that is varied, with its values as people read them."""

    name: str
    """Such as "sampler", "steps", "cfg", "lora detail"."""
    values: tuple[str, ...]


@dataclass(frozen=True)
class Setting:
    """One combination of values."""

    label: str
    """Unique within its study; such as "euler, 8 steps"."""
    values: Mapping[str, str] = field(default_factory=dict)
    """Value by the name of its axis; empty where settings are only names (folders)."""


@dataclass(frozen=True)
class Cell:
    """One scored image."""

    setting: int
    """Position in the study's settings."""
    prompt: int
    """Position in its prompts."""
    seed: int
    """Position in its seeds: the replicate, not the seed itself."""
    score: float
    """By the study's scorer (of an ensemble: its main one); NaN for an image that could not be scored."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """Scores of the members of an ensemble by scorer id; the first one is the main scorer, the others are reported."""
    width: int = 0
    height: int = 0
    contrast: float | None = None
    """Standard deviation of the luma, 0..0.5."""
    saturation: float | None = None
    """Mean chroma, 0..1."""
    thumbnail: bytes | None = None
    """WebP or JPEG, longest side 256."""
    file: str = ""
    """Where the picture lies, if it does: a path (command line) or a name below the host's output folder."""
    image_hash: str = ""
    entry: int | None = None
    """Row of the ledger."""


@dataclass(frozen=True)
class Study:
    """Settings x prompts x seeds with what was measured; cells may be missing, and none occurs twice."""

    title: str
    axes: tuple[Axis, ...]
    """Empty where settings are only names."""
    settings: tuple[Setting, ...]
    prompts: tuple[str, ...]
    """The texts that the images were scored against."""
    seeds: tuple[str, ...]
    """Names of the replicates, as text: seeds, or file names. The same for every prompt."""
    cells: tuple[Cell, ...]
    scorer: ScorerInfo
    reference: int = 0
    """Position of the setting that the others are compared with."""
    part_names: Mapping[str, str] = field(default_factory=dict)
    """Display names of the members of an ensemble by scorer id."""
    notes: tuple[str, ...] = ()
    """What a person should know about how the images were made or read."""
    facts: tuple[tuple[str, str], ...] = ()
    """Names and values that belong into a report: model, versions, date."""
    seeds_shared: bool = True
    """Whether one seed means the same initial noise under every setting: pairs of one seed are then compared."""

    def scores(self, part: str | None = None) -> np.ndarray:
        """Return the scores as float64 [settings, prompts, seeds]; NaN where a cell is missing or has no score.

        `part` names a member of an ensemble; None means the main score.
        """
        import numpy as np

        found = np.full((len(self.settings), len(self.prompts), len(self.seeds)), np.nan)
        for cell in self.cells:
            value = cell.score if part is None else cell.parts.get(part, float("nan"))
            found[cell.setting, cell.prompt, cell.seed] = value
        return found

    @property
    def size(self) -> int:
        """How many cells the whole design has."""
        return len(self.settings) * len(self.prompts) * len(self.seeds)


@dataclass(frozen=True)
class Interval:
    """A confidence interval."""

    low: float
    high: float

    def excludes(self, value: float = 0.0) -> bool:
        """Tell whether the value lies outside."""
        return not self.low <= value <= self.high


@dataclass(frozen=True)
class Comparison:
    """One setting (or one value of an axis) against another one, over the blocks that both have."""

    label: str
    against: str
    difference: float
    """Mean over the prompts of the mean difference of their blocks, in points; NaN when there is no common block."""
    interval: Interval
    """Of the difference, at the analysis' confidence, for this comparison alone."""
    adjusted: Interval
    """The same at the level that Holm's procedure gives this comparison among its family."""
    p: float
    """Of the sign-flip permutation test, two-sided; NaN without pairs."""
    p_adjusted: float
    """After Holm among the comparisons of its family."""
    verdict: Verdict
    wins: float
    """Share of the blocks where it scores higher, ties count half."""
    wins_interval: Interval
    prompts: int
    pairs: int
    """Blocks that both have."""
    sd: float
    """Standard deviation of the differences between the units of the analysis."""
    detectable: float
    """Smallest difference that this grid would find with a power of 80 %."""
    pairs_needed: int | None
    """Blocks that would show the measured difference with a power of 80 %; None: no finite number."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """Mean difference on the other members of an ensemble, by scorer id."""


@dataclass(frozen=True)
class Standing:
    """How one setting did over all."""

    setting: int
    cells: int
    score: float
    """Mean over the prompts of the mean over their seeds; only comparable within the study."""
    relative: float
    """Mean difference from the mean of all settings in the same block, in points."""
    z: float
    """The same in standard deviations between the settings of a block."""
    strength: float
    """Bradley-Terry strength with an N(0, 1) prior; the strengths of a study have a mean of about 0."""
    strength_sd: float
    elo: float
    """400 / ln 10 times the strength."""
    mean_rank: float
    """Mean rank within the blocks, 1 is best; NaN when no block is complete."""
    best_of: tuple[float, ...]
    """Expected best of n seeds for n = 1..: mean over the prompts, in points relative to `relative`'s zero."""
    contrast: float | None = None
    saturation: float | None = None
    parts: Mapping[str, float] = field(default_factory=dict)
    """`relative` on every member of an ensemble, by scorer id."""


@dataclass(frozen=True)
class Analysis:
    """What a study shows and what it does not."""

    units: Units
    """"prompts": holds for prompts like these. "seeds": holds for these prompts only, with other seeds."""
    confidence: float
    comparisons: tuple[Comparison, ...]
    """Every other setting against the reference, in the order of the settings."""
    by_axis: Mapping[str, tuple[Comparison, ...]]
    """For axes with two or more values in a study of two or more axes: each value against the reference's value, with
    all other axes averaged over the combinations that both have."""
    standings: tuple[Standing, ...]
    """In the order of the settings."""
    order: tuple[int, ...]
    """Positions of the settings, highest mean first."""
    contenders: tuple[int, ...]
    """Settings that may be the best: the data put no other one clearly above them; highest mean first."""
    friedman_p: float | None
    """Of Friedman's test that all settings are alike; None with fewer than three settings or two complete blocks."""
    headline: str
    """The verdict in one or two sentences."""
    warnings: tuple[str, ...]
    missing: int
    """Cells of the design that are not there."""

    def comparison(self, label: str) -> Comparison | None:
        """Return the comparison of one setting with the reference; None for the reference itself."""
        return next((found for found in self.comparisons if found.label == label), None)


def cell_index(cells: Sequence[Cell]) -> Mapping[tuple[int, int, int], Cell]:
    """Return the cells by (setting, prompt, seed)."""
    return {(cell.setting, cell.prompt, cell.seed): cell for cell in cells}
