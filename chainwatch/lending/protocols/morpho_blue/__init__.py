"""Morpho Blue."""
