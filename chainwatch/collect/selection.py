"""What `--only` selects of a source: one reading for all of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from chainwatch.errors import UsageError
from chainwatch.text import suggest


def names_in(only: str) -> list[str]:
    """The names of an option `only`, which has commas between them; each once."""
    return list(dict.fromkeys(name for part in only.split(",") if (name := part.strip())))


def select(
    source: str, only: str, words: Mapping[str, Collection[str]], listed: str = ""
) -> list[str]:
    """The items of a source that the option `only` names, in their order; all where it is empty.

    `words` holds for each item the words it goes by besides its name; case does not count. `listed`
    is what the message lists in place of these words. Raises UsageError for a name of no item.
    """
    names = names_in(only)
    if not names:
        return list(words)
    by_item = {
        item: {word.lower() for word in (item, *item_words)} for item, item_words in words.items()
    }
    for name in names:
        if not any(name.lower() in item_words for item_words in by_item.values()):
            shared = dict.fromkeys(word for item_words in words.values() for word in item_words)
            raise UsageError(
                f"{source} has no {name!r}; {suggest(name, [*shared, *words])}"
                f"it has {listed or ', '.join(shared or words)}"
            )
    wanted = {name.lower() for name in names}
    return [item for item, item_words in by_item.items() if item_words & wanted]
