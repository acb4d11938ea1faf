"""What a person types to say which settings are compared: lists of names, numbers with ranges, files, prompts.

Names and numbers are separated by commas, LoRAs with their strengths and checkpoints by semicolons, prompt variants by
vertical bars; a new line separates everywhere, and is all that separates prompts.

Numbers know three kinds of ranges, those of the well-known XYZ plot: "4-20 (+4)" counts by a step, "0.5-1.5 [5]" takes
that many values, evenly spaced, and "1-4" counts by one. Whatever stands in a text twice counts once.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Final

from ..errors import StudyError

MOST_VALUES: Final = 1000
"""Values that one text may stand for."""
PLACE: Final = "{prompt}"
"""Where a prompt variant takes the prompt."""
_DIGITS: Final = 4
"""Decimals of the values of a range with a count."""
_NUMBER: Final = r"[+-]?(?:\d{1,12}(?:\.\d{0,12})?|\.\d{1,12})"
_RANGE: Final = re.compile(
    rf"({_NUMBER})\s*(?:-|\.\.|to)\s*({_NUMBER})\s*(?:\(\s*({_NUMBER})\s*\)|\[\s*(\d{{1,6}})\s*\])?"
)
_SAID: Final = 8
"""Names that an error lists at most."""


@dataclass(frozen=True)
class Piece:
    """A part of a text that stands for one value or range."""

    text: str
    at: int
    """Position of its first character in the whole text, from 1."""


def pieces(text: str, separators: str = ",\n;") -> tuple[Piece, ...]:
    """Return the parts between commas, semicolons and ends of lines; empty ones are left out."""
    found, start = [], 0
    for end in [k for k, c in enumerate(text) if c in separators] + [len(text)]:
        part = text[start:end]
        if part.strip():
            found.append(Piece(part.strip(), start + len(part) - len(part.lstrip()) + 1))
        start = end + 1
    return tuple(found)


# --- names -----------------------------------------------------------------------------------------------------------


def names(text: str, known: Sequence[str], what: str) -> tuple[str, ...]:
    """Return the names in a text, each as it is known; StudyError for an unknown one, with what may have been meant.

    `what` is the word for one of them, such as "sampler". Upper case counts as lower case.
    """
    return _unique(_known(piece, known, what) for piece in pieces(text))


def files(text: str, known: Sequence[str], what: str) -> tuple[str, ...]:
    """Return the file names in a text, each as it is known, between semicolons, ends of lines or commas.

    A part that is a known name may hold commas. Folder and extension may be left out where only one file is meant.
    """
    found: list[str] = []
    for line in pieces(text, ";\n"):
        whole = _match(line.text, known)
        parts = [] if whole else [Piece(part.text, line.at + part.at - 1) for part in pieces(line.text)]
        found += [whole] if whole else [_known(part, known, what) for part in parts]
    return _unique(found)


def _known(piece: Piece, known: Sequence[str], what: str) -> str:
    found = _match(piece.text, known)
    if found is None:
        raise StudyError(f'There is no {what} "{_short(piece.text)}". {_meant(piece, known)}')
    return found


def _match(text: str, known: Sequence[str]) -> str | None:
    """Return the known name that is meant: as written, else in another case, else without folder or extension."""
    if text in known:
        return text
    for form in (_plain, lambda name: _bare(_plain(name)), lambda name: PurePosixPath(_bare(_plain(name))).name):
        same = [name for name in known if form(name) == _plain(text)]
        if len(same) == 1:
            return same[0]
    return None


def _plain(name: str) -> str:
    return name.casefold().replace("\\", "/")


def _bare(name: str) -> str:
    return re.sub(r"\.(safetensors|sft|ckpt|pt|pth|bin|gguf)$", "", name)


def _meant(piece: Piece, known: Sequence[str]) -> str:
    forms = {_bare(_plain(name)): name for name in known}
    near = difflib.get_close_matches(_bare(_plain(piece.text)), list(forms), 3, 0.5)
    if near:
        return f"Did you mean {_either([forms[name] for name in near])}?"
    if not known:
        return "None is installed."
    more = f" and {len(known) - _SAID} more" if len(known) > _SAID else ""
    return f"There are {', '.join(known[:_SAID])}{more}."


def _either(found: Sequence[str]) -> str:
    *others, last = found
    return f"{', '.join(others)} or {last}" if others else last


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else f"{line[:57]}..."


def _unique(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


# --- numbers ---------------------------------------------------------------------------------------------------------


def numbers(
    text: str, what: str, *, low: float, high: float, whole: bool = False, at: int = 1
) -> tuple[int, ...] | tuple[float, ...]:
    """Return the numbers in a text, ranges written out, in the order of the text.

    StudyError, with the position, on what is no number, lies outside `low`..`high` or, for `whole`, is not whole. `at`
    is the position of the text within the one that the person sees.
    """
    found: dict[Decimal, None] = {}
    for piece in pieces(text):
        place = Piece(piece.text, piece.at + at - 1)
        for value in _values(place, what, whole):
            _check(value, place, what, Decimal(repr(low)), Decimal(repr(high)), whole)
            found[value] = None
        if len(found) > MOST_VALUES:
            raise StudyError(f"{_where(what, place)}: that makes more than {MOST_VALUES} values; take larger steps.")
    return tuple(int(value) for value in found) if whole else tuple(float(value) for value in found)


def _values(piece: Piece, what: str, whole: bool) -> Iterator[Decimal]:
    if re.fullmatch(_NUMBER, piece.text):
        return iter([Decimal(piece.text)])
    matched = _RANGE.fullmatch(piece.text)
    if matched is None:
        raise StudyError(
            f'{_where(what, piece)}: "{_short(piece.text)}" is no number. Write numbers with commas between, or ranges '
            "such as 4-20 (+4), which counts by 4, 0.5-1.5 [5], which takes 5 values, or 1-4."
        )
    first, last = Decimal(matched[1]), Decimal(matched[2])
    if matched[4] is not None:
        return _spaced(first, last, int(matched[4]), piece, what, whole)
    step = Decimal(matched[3]) if matched[3] is not None else Decimal(1 if last >= first else -1)
    return _counted(first, last, step, piece, what)


def _counted(first: Decimal, last: Decimal, step: Decimal, piece: Piece, what: str) -> Iterator[Decimal]:
    if step == 0 or (first != last and (last - first) * step < 0):
        down = "; write (-1), or another negative step, to count down" if last < first else ""
        raise StudyError(f'{_where(what, piece)}: "{piece.text}" never gets to its end with this step{down}.')
    count = int((last - first) / step) + 1
    if count > MOST_VALUES:
        raise StudyError(f'{_where(what, piece)}: "{piece.text}" stands for {count} values; the most is {MOST_VALUES}.')
    return (first + step * k for k in range(count))


def _spaced(first: Decimal, last: Decimal, count: int, piece: Piece, what: str, whole: bool) -> Iterator[Decimal]:
    if not 1 <= count <= MOST_VALUES:
        raise StudyError(f'{_where(what, piece)}: "{piece.text}" asks for {count} values; take 1 to {MOST_VALUES}.')
    digits = Decimal(1) if whole else Decimal(1).scaleb(-_DIGITS)
    gap = (last - first) / max(count - 1, 1)
    return ((first + gap * k).quantize(digits) for k in range(count))


def _check(value: Decimal, piece: Piece, what: str, low: Decimal, high: Decimal, whole: bool) -> None:
    if whole and value != value.to_integral_value():
        raise StudyError(f"{_where(what, piece)}: {value} is not a whole number.")
    if not low <= value <= high:
        limits = f"from {number_text(float(low))} to {number_text(float(high))}"
        raise StudyError(f"{_where(what, piece)}: {value} is outside what is allowed, {limits}.")


def _where(what: str, piece: Piece) -> str:
    return f"{what}, character {piece.at}"


def number_text(value: float) -> str:
    """Return a number as people write it: 7, 0.5, never 7.0 or 1e-05."""
    text = format(Decimal(repr(value)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


# --- lines -----------------------------------------------------------------------------------------------------------


def lora_lines(text: str, known: Sequence[str]) -> tuple[tuple[str, tuple[float, ...]], ...]:
    """Return file and strengths of each part "file: 0, 0.5, 1", between semicolons or ends of lines; 1 without any."""
    found: dict[str, tuple[float, ...]] = {}
    for line in pieces(text, ";\n"):
        name, colon, given = line.text.rpartition(":")
        said = (name if colon else line.text).strip()
        file = _known(Piece(said, line.at), known, "LoRA")
        at = line.at + len(name) + 1
        strengths = numbers(given, f"strength of {file}", low=-100, high=100, at=at) if colon else (1.0,)
        if not strengths:
            raise StudyError(f'"{_short(line.text)}" names no strength: write {said}: 0, 0.5, 1.')
        if file in found:
            raise StudyError(f"The LoRA {file} is named twice. Give all its strengths at once: {said}: 0, 0.5, 1.")
        found[file] = tuple(float(value) for value in strengths)
    return tuple(found.items())


def prompt_lines(text: str) -> tuple[str, ...]:
    """Return the prompts, one a line; blank lines and lines that are there before do not count."""
    return _unique(line.strip() for line in text.splitlines() if line.strip())


def same_prompts(scored: Sequence[str]) -> tuple[int, ...]:
    """Return the places of the prompts that say what an earlier one says: they are no prompts of their own.

    Upper case and white space make no difference to any scorer.
    """
    read = [" ".join(prompt.casefold().split()) for prompt in scored]
    return tuple(k for k, text in enumerate(read) if text in read[:k])


def variant_lines(text: str) -> tuple[str, ...]:
    """Return the variants, between vertical bars or ends of lines, each with {prompt}; without any, the prompt."""
    found = _unique(part.strip() for line in text.splitlines() for part in _bars(line) if part.strip())
    for part in found:
        if PLACE not in part:
            raise StudyError(
                f'The prompt variant "{_short(part)}" does not say where the prompt goes. Write {PLACE} there, and | '
                f"between variants, such as {PLACE} | {PLACE}, oil painting."
            )
    return found or (PLACE,)


def _bars(line: str) -> list[str]:
    """Return the parts between vertical bars; those in {a|b} and [a|b] belong to a prompt and separate nothing."""
    parts, depth = [""], 0
    for character in line:
        depth = max(0, depth + (character in "{[") - (character in "}]"))
        if character == "|" and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts if depth == 0 else line.split("|")
