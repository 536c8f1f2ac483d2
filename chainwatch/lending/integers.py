"""Fixed-point arithmetic of the contracts, with their rounding and their overflow.

All values are unsigned 256-bit integers. A result that does not fit raises `ChainReverts`, since
Solidity 0.8 reverts there: a number that the chain would not return is never computed.
"""

RAY = 10**27
WAD = 10**18
YEAR_SECONDS = 31_536_000
BPS = 10_000
UINT_MAX = 2**256 - 1


class ChainReverts(ArithmeticError):
    """The contract would revert on these inputs; the text says where."""


def checked(value: int, where: str) -> int:
    """The value, if a uint256 holds it."""
    if not 0 <= value <= UINT_MAX:
        raise ChainReverts(f"overflow in {where}")
    return value


def unit_of(decimals: int) -> int:
    """Token units in one whole token."""
    return int(10**decimals)


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def ray_mul(a: int, b: int) -> int:
    """a · b in ray, half up (WadRayMath.rayMul)."""
    return checked(a * b + RAY // 2, "rayMul") // RAY


def wad_div(a: int, b: int) -> int:
    """a / b in wad, half up (WadRayMath.wadDiv)."""
    return checked(a * WAD + b // 2, "wadDiv") // b


def percent_mul(value: int, bps: int) -> int:
    """value · bps / 10000, half up (PercentageMath.percentMul)."""
    return checked(value * bps + BPS // 2, "percentMul") // BPS


def percent_div(value: int, bps: int) -> int:
    """value · 10000 / bps, half up (PercentageMath.percentDiv)."""
    return checked(value * BPS + bps // 2, "percentDiv") // bps
