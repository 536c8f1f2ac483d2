"""One folder per protocol: its integer arithmetic and its reader."""
