"""Which picture of a job's result belongs to which candidate, and the result with only some of them.

The host's list of pictures is no list of candidates: masks stand between them, other extensions append theirs, and any
of them may have been replaced. So pictures are told by identity, by the record in their `info`, or by their infotext.
Their number tells only where the list is as long as what was made, and all that are known stand in their own places:
then a picture that nobody knows stands for the candidate in whose place it is. Otherwise it stays at the tail.
A copy inherits record and infotext: it is shown for what it was copied from, and does not become the file of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..judge import TAG

if TYPE_CHECKING:
    from ..judge import Judged

TEXT = "parameters"
"""Key of the infotext in a picture's `info`."""
LISTS = ("all_prompts", "all_negative_prompts", "all_seeds", "all_subseeds")
HIRES_LISTS = ("all_hr_prompts", "all_hr_negative_prompts")
AFTER_SAMPLING = ("pixels_after_sampling", "latents_after_sampling")
"""Forge's lists with one entry for every picture that was made."""


@dataclass
class Made:
    """One picture that came out of the host's loop."""

    slot: int
    """Its number as the host counts: iteration * batch size + place in the batch."""
    pool: int
    """-1 for a picture that another extension added to a batch."""
    place: int
    seed: int
    subseed: int
    prompt: str
    negative: str
    picture: Any
    whole: bool
    """False when the person stopped or skipped it half-made."""
    save: bool
    """Whether the host would have written it to disk."""
    judged: Judged | None = None
    at: tuple[int, int] = (0, 0)
    """Its batch and its place in it."""
    text_before: str | None = None
    """The infotext that the picture had when it was judged, of another generation; the host writes its own later."""

    @property
    def ready(self) -> bool:
        """Whether the host has taken this very picture, or another extension has handed it a changed one."""
        return self.picture.info.get(TEXT) != self.text_before


@dataclass
class Group:
    """A picture with its infotext and the masks that the host put behind it."""

    made: Made
    picture: Any
    text: str
    masks: list[Any] = field(default_factory=list)
    ready: bool = True
    """Whether the picture was finished when it was judged; False where another extension has changed it after that."""

    @property
    def to_save(self) -> Any:
        """The picture that the host would have written: it saves before the result is handed to extensions."""
        return self.made.picture if self.ready else self.picture


@dataclass
class Result:
    """A job's result taken apart."""

    head: list[Any]
    """Before the first picture: grids."""
    head_texts: list[str]
    groups: list[Group]
    """In the order in which they were made."""
    added: list[Group]
    """Pictures that other extensions have added to batches."""
    tail: list[Any]
    tail_texts: list[str]


def split(processed: Any, made: Sequence[Made], masks: int, *, texted: bool = True) -> Result:
    """Take a result apart; `masks` is how many mask pictures the host puts behind each picture.

    `texted` tells whether the host writes infotexts into pictures; without them nobody can tell whether a picture was
    changed after it was judged.
    """
    first = processed.index_of_first_image
    texts = list(processed.infotexts[first:])
    groups = [
        Group(m, m.picture, texts[k] if k < len(texts) else _text(m.picture), ready=m.ready or not texted)
        for k, m in enumerate(made)
    ]
    tail: list[Any] = []
    images = list(processed.images[first:])
    _stand_in(images, groups, masks + 1)
    for image, group in _assigned(images, groups):
        if group is None:
            tail.append(image)
        elif image is not group.picture:
            (group.masks if len(group.masks) < masks else tail).append(image)
    return Result(
        list(processed.images[:first]),
        list(processed.infotexts[:first]),
        [group for group in groups if group.made.pool >= 0],
        [group for group in groups if group.made.pool < 0],
        tail,
        texts[len(made) :],
    )


def companions(added: Sequence[Group], groups: Sequence[Group], kept: Sequence[Group]) -> list[Group]:
    """Return those of the added pictures that a job of the kept candidates alone would have had.

    Where a batch got as many for each of its candidates, with the seeds of that one, they go with their candidates. Any
    other is of the whole batch, and stays when one of its candidates is kept.
    """
    found = []
    for batch in dict.fromkeys(group.made.at[0] for group in added):
        more, own, chosen = ([group for group in some if group.made.at[0] == batch] for some in (added, groups, kept))
        counts = Counter(map(_seeds, more))
        apart = set(counts) == set(map(_seeds, own)) and len(set(counts.values())) == 1
        seeds = set(map(_seeds, chosen))
        found += [group for group in more if (_seeds(group) in seeds if apart else seeds)]
    return found


def _seeds(group: Group) -> tuple[int, int]:
    return group.made.seed, group.made.subseed


def _stand_in(images: Sequence[Any], groups: Sequence[Group], step: int) -> None:
    """Let pictures that nobody knows stand for the candidates in whose places they are, if the places are right."""
    if len(images) != step * len(groups):
        return
    places = {id(group): step * k for k, group in enumerate(groups)}
    owners = [_find(image, groups) for image in images]
    if any(owner is not None and places[id(owner)] != k for k, owner in enumerate(owners)):
        return
    for k, group in enumerate(groups):
        if owners[step * k] is None and isinstance(getattr(images[step * k], "info", None), dict):
            group.picture = images[step * k]


def _assigned(images: Sequence[Any], groups: Sequence[Group]) -> Iterator[tuple[Any, Group | None]]:
    """Yield every picture with the group that it is of, or that it stands behind."""
    waiting, last = list(groups), None
    for image in images:
        found = _find(image, waiting)
        if found is not None:
            waiting = [group for group in waiting if group is not found]
            found.picture, last = image, found
        yield image, last


def _find(image: Any, groups: Sequence[Group]) -> Group | None:
    info = getattr(image, "info", {})
    tests = (
        lambda group: image is group.picture,
        lambda group: bool(info.get(TAG)) and info.get(TAG) == group.made.picture.info.get(TAG),
        lambda group: bool(info.get(TEXT)) and info.get(TEXT) == group.text,
    )
    return next((group for test in tests for group in groups if test(group)), None)


def _text(picture: Any) -> str:
    return str(getattr(picture, "info", {}).get(TEXT) or "")


def rewrite(
    p: Any, processed: Any, result: Result, kept: Sequence[Group], shown: Sequence[int], added: Sequence[Group] = ()
) -> None:
    """Leave only the kept pictures in a result and in the job's own lists, in step; `shown` are the masks to show.

    Pictures that others have `added` stand behind the kept ones.
    """
    rows = {
        "all_prompts": [group.made.prompt for group in kept],
        "all_negative_prompts": [group.made.negative for group in kept],
        "all_seeds": [group.made.seed for group in kept],
        "all_subseeds": [group.made.subseed for group in kept],
    }
    for name, row in rows.items():
        setattr(processed, name, row)
        setattr(p, name, list(row))
    slots = [group.made.slot for group in kept]
    for name in HIRES_LISTS:
        values = getattr(p, name, None)
        if isinstance(values, list) and len(values) > max(slots):
            setattr(p, name, [values[slot] for slot in slots])
    _after_sampling(p, result, kept, added)
    whole = [*kept, *added]
    pictures = [image for group in whole for image in (group.picture, *_shown(group, shown))]
    processed.images = [*result.head, *pictures, *result.tail]
    processed.infotexts = [*result.head_texts, *(group.text for group in whole), *result.tail_texts]
    processed.seed, processed.subseed = kept[0].made.seed, kept[0].made.subseed
    processed.info = kept[0].text


def _shown(group: Group, shown: Sequence[int]) -> list[Any]:
    return [group.masks[k] for k in shown if k < len(group.masks)]


def _after_sampling(p: Any, result: Result, kept: Sequence[Group], added: Sequence[Group]) -> None:
    """Leave the entries of the kept in Forge's lists: one has what was sampled, the other what became of it, too."""
    sampled = [group.made.at for group in result.groups]
    finished = sorted([*sampled, *(group.made.at for group in result.added)])
    for name in AFTER_SAMPLING:
        values = getattr(p, name, None)
        for order, wanted in ((sampled, kept), (finished, [*kept, *added])):
            if isinstance(values, list) and len(values) == len(order):
                setattr(p, name, [values[order.index(group.made.at)] for group in wanted])
                break
