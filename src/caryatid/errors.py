# SPDX-License-Identifier: Apache-2.0
"""What can go wrong, each with the HTTP status it has at the door.

CaryatidError 500
├── Refused            the request is at fault; carries every fault found
├── NotFound 404
├── Unauthorized 401   nobody known is asking
├── Forbidden 403      policy says no
├── Conflict 409
├── PreconditionFailed 412   it has been changed since the client read it
├── TooMany 429        wait for `retry_after` seconds
├── Busy 503           try again after `retry_after` seconds
├── Unsupported 501    no driver here can do this
├── NoAnswer 504       who was asked did not say anything in time
└── LeaseLost 500      another worker has the root now; what we do no longer counts
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One thing wrong with a request: a sentence for its sender, and what it is about."""

    message: str
    attribute: str = ""
    status: int = 400


class CaryatidError(Exception):
    """Anything this package raises on purpose. `str()` is a sentence for the reader of an answer or a log."""

    status = 500


class Refused(CaryatidError):
    """The request cannot be carried out; `faults` names every reason at once."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__(" ".join(fault.message for fault in self.faults))
        statuses = {fault.status for fault in self.faults}
        self.status = statuses.pop() if len(statuses) == 1 else 400


@contextmanager
def refused_with(faults: Iterable[Fault]) -> Iterator[None]:
    """What is refused within is refused for these faults, too."""
    try:
        yield
    except Refused as refused:
        raise Refused([*refused.faults, *faults]) from None


class NotFound(CaryatidError):
    status = 404

    def __init__(self, title: str, key: str) -> None:
        super().__init__(f"{title} {key} not found.")


class Unauthorized(CaryatidError):
    """`challenge`: what WWW-Authenticate says to it."""

    status = 401

    def __init__(self, message: str, challenge: str = "") -> None:
        super().__init__(message)
        self.challenge = challenge


class Forbidden(CaryatidError):
    status = 403


class Conflict(CaryatidError):
    status = 409


class PreconditionFailed(CaryatidError):
    status = 412


class TooMany(CaryatidError):
    status = 429

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unsupported(CaryatidError):
    status = 501


class Busy(CaryatidError):
    status = 503
    retry_after = 1


class NoAnswer(CaryatidError):
    status = 504


class LeaseLost(CaryatidError):
    pass
