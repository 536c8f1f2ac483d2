"""Every table of the lake as frozen classes: the class is the schema."""
