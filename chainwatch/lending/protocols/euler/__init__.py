"""Euler vaults (EVK)."""
