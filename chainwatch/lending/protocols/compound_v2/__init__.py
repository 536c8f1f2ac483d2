"""Compound v2."""
