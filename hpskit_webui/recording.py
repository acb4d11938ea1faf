"""Scored pictures into the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .job import Job
    from .judge import Judged


def add(p: Any, job: Job, picture: Any, judged: Judged) -> None:
    """Write a scored picture down; trouble with the ledger never reaches a generation."""
