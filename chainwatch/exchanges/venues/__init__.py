"""One file per venue."""
