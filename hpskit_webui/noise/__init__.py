"""Noise optimisation in a generation, what it reports, and the files that keep an optimised noise."""
