"""Reading one chain: JSON-RPC, contracts, markets, tokens."""
