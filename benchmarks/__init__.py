"""Timing scripts; each compares its two sides in one run, alternating, by the median."""
