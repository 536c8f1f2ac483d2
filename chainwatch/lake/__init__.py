"""The lake, its catalog, and the queries over it."""
