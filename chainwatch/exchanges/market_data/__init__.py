"""Candles, order book depth and open interest."""
