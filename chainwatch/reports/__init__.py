"""What is computed from the lake and said with it."""
