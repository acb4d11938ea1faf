"""Scores in the Extras tab, and the table beside a batch."""
