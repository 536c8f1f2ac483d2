"""Compound III (Comet)."""
