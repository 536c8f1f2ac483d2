"""Figures against alternatives measured in the same run: `python -m bench`."""
