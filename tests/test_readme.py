"""README shows what the commands print."""

import pytest

from tests import readme


@pytest.mark.full
def test_the_readme_shows_what_the_commands_print_today() -> None:
    written = readme.README.read_text("utf-8")
    assert written == readme.filled(written, readme.blocks()), "run `make docs`"
