# SPDX-License-Identifier: Apache-2.0
"""The page of what every list takes."""

from collections.abc import Iterator

from caryatid.api.resources import PAGING, TAGS

from .markdown import code, table


def lists() -> Iterator[str]:
    """Filters, tags, order, pages."""
    yield "# Lists"
    yield (
        "Every list can be filtered by attribute (`?name=web&protocol=HTTP`: all of them hold), and, if its resources "
        "have tags, by these. A page has at most `pagination_max_limit` rows; `…_links` lead to the next and the "
        "previous one, and carry everything that the query said."
    )
    yield table(["Parameter", "Meaning"], [[code(one.name), one.description] for one in (*TAGS, *PAGING)])
