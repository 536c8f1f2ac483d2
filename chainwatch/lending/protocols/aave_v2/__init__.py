"""Aave v2."""
