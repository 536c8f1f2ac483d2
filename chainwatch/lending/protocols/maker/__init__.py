"""Maker (Sky) vaults."""
