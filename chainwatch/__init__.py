"""chainwatch: at which prices how much collateral is liquidated, verified against the chain."""


def __getattr__(name: str) -> str:
    # importlib.metadata takes longer to import than the whole command line: only when asked.
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("chainwatch")
        except PackageNotFoundError:  # a source tree that was never installed
            return "0+unknown"
    raise AttributeError(name)
