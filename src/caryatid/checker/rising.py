# SPDX-License-Identifier: Apache-2.0
"""How many results in a row make a region say something else of a check."""

from dataclasses import dataclass

from caryatid.wire.checks import Word


@dataclass(slots=True)
class Course:
    """How a check has gone."""

    word: Word | None = None
    """What is said of it; None: nothing yet."""
    against: int = 0
    """Results in a row that speak against that; while nothing is said: failures."""

    def take(self, *, up: bool, rise: int, fall: int) -> bool:
        """One more result. True: another word is said from now on.

        What nothing is said of is UP at the first success, so that a start is fast, and DOWN after `fall` failures.
        """
        if up == (self.word == "UP") and self.word is not None:
            self.against = 0
            return False
        self.against += 1
        if self.against < (1 if self.word is None and up else rise if up else fall):
            return False
        self.word, self.against = "UP" if up else "DOWN", 0
        return True
