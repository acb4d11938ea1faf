"""Numbers on the command line: what is no sensible value is refused with the option's name."""

from __future__ import annotations

import argparse
import math


def positive(text: str) -> int:
    """Return a whole number of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def number(text: str) -> float:
    """Return a finite number."""
    value = float(text)
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError("must be finite")
    return value


def above_zero(text: str) -> float:
    """Return a finite number above 0."""
    value = number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError("must be above 0")
    return value


def degrees(text: str) -> float:
    """Return an angle above 0 and up to 180."""
    value = above_zero(text)
    if value > 180:
        raise argparse.ArgumentTypeError("must be at most 180")
    return value


def seed(text: str) -> int:
    """Return a seed from which others can count up."""
    value = int(text)
    if not 0 <= value < 2**63:
        raise argparse.ArgumentTypeError("must be at least 0 and below 2^63")
    return value
