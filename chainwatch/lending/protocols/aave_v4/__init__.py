"""Aave v4."""
