"""chainwatch: at which prices how much collateral is liquidated, verified against the chain."""

__version__ = "0.1.0"
