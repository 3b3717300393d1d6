# SPDX-License-Identifier: Apache-2.0
"""Who asks: a request → its Caller.

Without access control (`noauth`, on loopback only) everyone is an administrator, of the project that
X-Project-Id names.
"""

from urllib.parse import urlsplit
from uuid import uuid4

from starlette.types import Scope

from caryatid.errors import Forbidden
from caryatid.model.policy import Caller

NOBODY = "noauth"
Headers = dict[bytes, bytes]


def request_id() -> str:
    """A name for a request, for its answer and the log."""
    return f"req-{uuid4()}"


def caller(headers: Headers, request_id: str) -> Caller:
    project_id = headers.get(b"x-project-id", b"").decode("latin-1")
    return Caller(user_id=NOBODY, project_id=project_id or None, request_id=request_id, is_admin=True)


def refuse_other_sites(scope: Scope, headers: Headers) -> None:
    """Raises Forbidden for a change that a browser sends on behalf of another site's page.

    On loopback nothing else would stop such a page: a simple request needs no permission (Fetch, §4.8).
    """
    origin = headers.get(b"origin")
    if origin is None or scope["method"] == "GET":
        return
    host = headers.get(b"host", b"").decode("latin-1")
    if urlsplit(origin.decode("latin-1")).netloc != host:
        raise Forbidden("Requests from pages of other sites are not taken.")
