"""Aave v3."""
