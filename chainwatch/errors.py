"""Every kind of failure, and the exit code each one ends with.

ChainwatchError
├── CheckFailed        1   a check ran and found a difference
├── UsageError         2   a wrong flag, name or value
│   └── ConfigError    2   a wrong setting, file or endpoint
├── NetworkError       3   nothing usable came back
│   ├── RpcError       3   a JSON-RPC endpoint refused, or its answer cannot be used
│   └── Reorged        3   the chain changed under a read; reading again is safe
├── Unexpected         1   an exception of another kind ended one job or step; the others go on
├── PartialError       4   some of what was asked for was done, some not
│   └── Unparsed       4   an exchange sent frames or rows that cannot be parsed
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
# What is said of a run that Ctrl-C ended.
INTERRUPTION = "interrupted; what was acknowledged is stored"


class ChainwatchError(Exception):
    """A failure with a message of one line: what is wrong, where, what to do."""

    code = Exit.CHECK_FAILED


class CheckFailed(ChainwatchError):
    """A check ran to its end and found a difference."""

    code = Exit.CHECK_FAILED


class UsageError(ChainwatchError):
    """An option, name or value that does not exist or does not fit the others."""

    code = Exit.USAGE


class ConfigError(UsageError):
    """A setting, a file of settings or an endpoint that does not fit the command."""


class NetworkError(ChainwatchError):
    """No usable answer came back after all retries."""

    code = Exit.NETWORK


class RpcError(NetworkError):
    """A JSON-RPC endpoint refused a request, or its answer cannot be used."""


class Reorged(NetworkError):
    """The chain replaced a block between two reads; nothing was stored of them."""


class Unexpected(ChainwatchError):
    """An exception of another kind ended one job or step; it is the cause of this one."""


class PartialError(ChainwatchError):
    """Some targets were done and some failed; what was done is stored."""

    code = Exit.PARTIAL


class Unparsed(PartialError):
    """Some frames or rows of an exchange could not be parsed; the others are stored."""


class StoreError(ChainwatchError):
    """The lake could not be read or written; what was stored before is untouched."""

    code = Exit.STORE


class StoreBusy(StoreError):
    """Another process holds what this one needs."""


def is_full(failure: BaseException) -> bool:
    """Whether the system says that a disk, or a quota on it, is used up."""
    return isinstance(failure, OSError) and failure.errno in (errno.ENOSPC, errno.EDQUOT)


def unwritable(name: str, failure: OSError) -> ChainwatchError:
    """Why a file that the user named could not be written: a full disk is not a wrong name."""
    kind = StoreError if is_full(failure) else UsageError
    return kind(f"{name} cannot be written: {failure.strerror or failure}")


def as_chainwatch_error(
    failure: Exception, scrub: Callable[[str], str] = lambda text: text
) -> ChainwatchError:
    """Any exception as a ChainwatchError: itself, a full disk as StoreError, else Unexpected.

    `scrub` takes the secrets out of the text of another kind of exception.
    """
    if isinstance(failure, ChainwatchError):
        return failure
    if isinstance(failure, OSError) and (is_full(failure) or failure.filename is not None):
        where = f"{failure.filename}: " if failure.filename is not None else ""
        todo = ": free some space and run again" if is_full(failure) else ""
        error: ChainwatchError = StoreError(f"{where}{failure.strerror}{todo}")
    else:
        words = scrub(" ".join(str(failure).split()))
        error = Unexpected(f"unexpected {type(failure).__name__}: {words} (run again with --debug)")
    error.__cause__ = failure
    return error
