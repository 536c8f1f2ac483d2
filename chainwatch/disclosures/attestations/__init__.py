"""Signed reserve reports: the text of each issuer's report as a statement with its lines."""
