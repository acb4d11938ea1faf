"""Deleting many rows of the ledger: how many would go is asked in words, and then just those go."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...hpskit.errors import LedgerError
from ..record import pictures, recording

if TYPE_CHECKING:
    from ...hpskit.ledger import Query

DAYS = 30
"""What the question begins with; all rows go only where 0 was typed."""
CONFIRM = "This cannot be undone. Image files are not touched."
CHANGED = "The ledger has changed since the question; nothing is deleted yet."


@dataclass(frozen=True)
class Asked:
    """What a person was asked: rows of so many days (0: all), that is before a time, and how many they are."""

    days: float
    before: float
    count: int

    def button(self) -> str:
        """Return what the button of the second press says."""
        return f"Delete {rows(self.count)}"


def rows(count: int) -> str:
    """Return a number of rows in words."""
    return f"{count:,} row{'' if count == 1 else 's'}"


def days_of(age: Any) -> float:
    """Return the number of days in the field; LedgerError when it is none, for an empty field is not all rows."""
    number = float(age) if isinstance(age, (int, float)) and not isinstance(age, bool) else math.nan
    if not (math.isfinite(number) and number >= 0):
        raise LedgerError("Nothing is deleted. Write a number of days from 0 on, such as 30; 0 stands for all rows.")
    return number


def ask(age: Any) -> Asked:
    """Return what would go now. Rows that are written later are not meant, whatever the number of days."""
    days, now = days_of(age), time.time()
    newest = recording.opened().summary().newest
    # A clock that was wrong once has left rows of the future, and all rows are all.
    before = now - 86400 * days if days else max(now, math.nextafter(newest or 0.0, math.inf))
    return Asked(days, before, _count(before))


def question(asked: Asked, query: Query) -> str:
    """Return the question; `query` is what the leaderboard shows, which does not count here."""
    ledger = recording.opened()
    total, shown = ledger.summary().rows, ledger.rows(query).total
    if not asked.count:
        none = f"No row is older than {asked.days:g} days" if total else "The ledger holds no row"
        return f"{none}, so there is nothing to delete.{f' The ledger holds {rows(total)}.' if total else ''}"
    if asked.count == total:
        which = f"all {rows(total)} of the ledger" if total > 1 else "the only row of the ledger"
        which += f", not only the {shown:,} shown" if shown < total else ""
        return f"Delete {which}? {CONFIRM}"
    which = (
        f"{rows(asked.count)} that {'is' if asked.count == 1 else 'are'} older than {asked.days:g} days, of {total:,}"
    )
    words = f"Delete {which}? {CONFIRM}"
    return f"{words} The filter does not count here: rows that it hides go, too." if shown < total else words


def purge(asked: Asked) -> int | None:
    """Delete what was asked and return how many rows these were; None, and nothing is done, when they are others."""
    if _count(asked.before) != asked.count:
        return None
    count = recording.opened().purge(before=asked.before)
    pictures.forget()
    return count


def _count(before: float) -> int:
    from ...hpskit.ledger import Query

    return recording.opened().rows(Query(until=before, limit=1)).total
