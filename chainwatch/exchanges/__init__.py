"""Liquidation feeds and market data of exchanges."""
