# SPDX-License-Identifier: Apache-2.0
"""What an answer must contain: RE2, whose time grows with the text alone, whatever pattern and text somebody chose."""

from typing import Any, Final

import re2

LENGTH_MAX: Final = 255
STEPS_MAX: Final = 1000
"""Of the compiled pattern: 64 KiB are searched within some milliseconds."""
MEMORY_BYTES: Final = 1 << 18


def compiled(pattern: str) -> Any:
    """Its `search` takes bytes, and lets other threads go on. Raises ValueError: a sentence that says why not."""
    if len(pattern) > LENGTH_MAX:
        raise ValueError(f"Regular expressions are limited to {LENGTH_MAX} characters")
    options = re2.Options()
    options.max_mem, options.never_capture, options.log_errors = MEMORY_BYTES, True, False
    try:
        found = re2.compile(pattern, options)
    except re2.error as error:
        why = error.args[0] if error.args else ""
        raise ValueError(
            f"It is no regular expression of RE2: {why.decode() if isinstance(why, bytes) else why}"
        ) from None
    if found.programsize > STEPS_MAX:
        raise ValueError("The regular expression is too large: fewer or smaller repetitions")
    return found
