"""Where the host reports what its extensions did wrong; the fake also keeps it, and the fixture `web` reads it."""

from __future__ import annotations

import sys
import traceback
from dataclasses import dataclass


@dataclass(frozen=True)
class Report:
    message: str
    error: BaseException | None
    trace: str

    def __str__(self) -> str:
        return f"{self.message}\n{self.trace}"


kept: list[Report] = []


def report(message: str, *, exc_info: bool = False) -> None:
    error = sys.exc_info()[1]
    kept.append(Report(message, error, traceback.format_exc() if error is not None else ""))


def display(e: Exception, task: str, *, full_traceback: bool = False) -> None:
    report(f"{task}: {type(e).__name__}")
