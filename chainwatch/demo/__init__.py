"""A local chain with the real Aave v3.0 bytecode: what `chainwatch demo` and the tests run on."""
