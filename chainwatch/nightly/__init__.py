"""Nights: what is due, retention, checks, export."""
