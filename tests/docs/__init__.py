"""The documentation: pages are filled by commands, and compared with what they print today."""
