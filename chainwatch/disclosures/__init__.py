"""Disclosures of reserves, and market indicators."""
