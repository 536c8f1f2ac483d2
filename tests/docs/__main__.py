"""`python -m tests.docs [PAGE…]` (make docs): fills the generated parts of the pages."""

import sys

from tests.docs import pages

if __name__ == "__main__":
    pages.write(sys.argv[1:])
