# SPDX-License-Identifier: Apache-2.0
"""Time, as the wire writes it and as the database tells it."""

import time
from datetime import UTC, datetime

from sqlalchemy import Float, cast, func, select

from .database import POSTGRESQL, Tx

_DATABASE_CLOCK = select(cast(func.extract("epoch", func.clock_timestamp()), Float(53)))


def text(epoch_s: float) -> str:
    """The moment as `model.types.Time`: UTC, microseconds, no zone."""
    return datetime.fromtimestamp(epoch_s, UTC).replace(tzinfo=None).isoformat(timespec="microseconds")


def epoch_s(moment: str) -> float:
    """The same, back."""
    return datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()


def now(tx: Tx) -> float:
    """Seconds since the epoch by the one clock that all nodes share: the database's."""
    if tx.database.dialect == POSTGRESQL:
        return float(tx.connection.execute(_DATABASE_CLOCK).scalar_one())
    return time.time()
