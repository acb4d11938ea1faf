"""The ledger: an append-only record of every scored image, in one SQLite file on this machine.

>>> from hpskit.ledger import Entry, Ledger, Query, default_path
>>> ledger = Ledger(default_path())  # doctest: +SKIP
>>> ledger.rows(Query(scorer="hps-v2.1", sort="standing", limit=20))  # doctest: +SKIP
"""

from __future__ import annotations

from .entry import Entry
from .opening import default_path
from .records import SORTS, Agreement, Facet, Facets, Page, Pick, Query, Row, Setting, Summary
from .store import Ledger
from .workflows import PackedWorkflow, prepare_workflow

__all__ = [
    "SORTS",
    "Agreement",
    "Entry",
    "Facet",
    "Facets",
    "Ledger",
    "PackedWorkflow",
    "Page",
    "Pick",
    "Query",
    "Row",
    "Setting",
    "Summary",
    "default_path",
    "prepare_workflow",
]
