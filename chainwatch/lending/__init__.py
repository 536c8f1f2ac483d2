"""Lending positions: markets read at one block, valued, verified, and their liquidations."""
