"""Every failure the program names, and the exit code each one ends with.

ChainwatchError
├── CheckFailed        1   a check ran and found a difference
├── UsageError         2   a wrong flag, name or value
│   └── ConfigError    2   a wrong setting, file or endpoint
├── NetworkError       3   nothing usable came back
│   ├── RpcError       3   a JSON-RPC endpoint refused or answered nonsense
│   └── Reorged        3   the chain changed under a read; reading again is safe
├── Unexpected         1   what nobody foresaw, of one job or step; the others go on
├── PartialError       4   some of what was asked for was done, some not
│   └── Unread         4   an exchange sent frames or rows that cannot be read
└── StoreError         5   the lake cannot be read or written
    └── StoreBusy      5   another process holds it
"""

import errno
from collections.abc import Callable
from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of the command line."""

    OK = 0
    CHECK_FAILED = 1
    USAGE = 2
    NETWORK = 3
    PARTIAL = 4
    STORE = 5
    INTERRUPTED = 130


EXIT_MEANING = {
    Exit.OK: "ok",
    Exit.CHECK_FAILED: "a check failed",
    Exit.USAGE: "usage or configuration",
    Exit.NETWORK: "network: an endpoint or feed failed or is silent",
    Exit.PARTIAL: "partial: some of what was asked for failed",
    Exit.STORE: "the store is busy, or cannot be read or written",
    Exit.INTERRUPTED: "interrupted",
}


class ChainwatchError(Exception):
    """A failure told in one line: what is wrong, where, what to do."""

    code = Exit.CHECK_FAILED


class CheckFailed(ChainwatchError):
    """A check ran to its end and found a difference."""

    code = Exit.CHECK_FAILED


class UsageError(ChainwatchError):
    """The command was asked for something that does not exist or make sense."""

    code = Exit.USAGE


class ConfigError(UsageError):
    """A setting, a file of settings or an endpoint does not fit what is asked."""


class NetworkError(ChainwatchError):
    """No usable answer came back after all retries."""

    code = Exit.NETWORK


class RpcError(NetworkError):
    """A JSON-RPC endpoint refused a request or answered something unusable."""


class Reorged(NetworkError):
    """The chain replaced a block between two reads; nothing was stored of them."""


class Unexpected(ChainwatchError):
    """What nobody foresaw ended one job or step; its cause is the exception itself."""


class PartialError(ChainwatchError):
    """Some targets were done and some failed; what was done is stored."""

    code = Exit.PARTIAL


class Unread(PartialError):
    """Some frames or rows of an exchange could not be read; the others are stored."""


class StoreError(ChainwatchError):
    """The lake could not be read or written; what was stored before is untouched."""

    code = Exit.STORE


class StoreBusy(StoreError):
    """Another process holds what this one needs."""


def is_full(failure: BaseException) -> bool:
    """Whether the system says that a disk, or a quota on it, is used up."""
    return isinstance(failure, OSError) and failure.errno in (errno.ENOSPC, errno.EDQUOT)


def unwritable(name: str, failure: OSError) -> ChainwatchError:
    """Why a file that somebody named could not be written: a full disk is nobody's wrong word."""
    kind = StoreError if is_full(failure) else UsageError
    return kind(f"{name} cannot be written: {failure.strerror or failure}")


def named(failure: Exception, scrub: Callable[[str], str] = lambda text: text) -> ChainwatchError:
    """Any exception as one of these: itself, a full disk as StoreError, all else as Unexpected.

    `scrub` takes the secrets out of text that nobody foresaw.
    """
    if isinstance(failure, ChainwatchError):
        return failure
    if isinstance(failure, OSError) and (is_full(failure) or failure.filename is not None):
        where = f"{failure.filename}: " if failure.filename is not None else ""
        todo = ": free some space and run again" if is_full(failure) else ""
        found: ChainwatchError = StoreError(f"{where}{failure.strerror}{todo}")
    else:
        words = scrub(" ".join(str(failure).split()))
        found = Unexpected(f"unexpected {type(failure).__name__}: {words} (run again with --debug)")
    found.__cause__ = failure
    return found
