"""Output: reports as text, the terminal, progress."""
