"""Test contracts of this project: sources, and in `contracts.json` what they compile to."""
