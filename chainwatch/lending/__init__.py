"""Integer arithmetic and decoding of each lending protocol: no I/O, no clock."""
