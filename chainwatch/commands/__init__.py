"""The commands: one module per area, which registers its own."""
