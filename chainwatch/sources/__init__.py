"""One file per source; discovered by chainwatch.source.discover()."""
