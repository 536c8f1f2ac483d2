"""Where the tests' own files are."""

from pathlib import Path

TESTS = Path(__file__).parent
ROOT = TESTS.parent
FIXTURES = TESTS / "fixtures"
CACHE = ROOT / ".cache"
