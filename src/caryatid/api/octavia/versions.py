# SPDX-License-Identifier: Apache-2.0
"""Version discovery. One implementation: the list says since when the wire has had what (facts: octavia.md §2.1)."""

from starlette.responses import Response

from caryatid.api.call import Call, answer

VERSIONS = (
    ("v2.0", "2016-12-11T00:00:00Z"),
    ("v2.1", "2018-04-20T00:00:00Z"),
    ("v2.2", "2018-07-31T00:00:00Z"),
    ("v2.3", "2018-12-18T00:00:00Z"),
    ("v2.4", "2018-12-19T00:00:00Z"),
    ("v2.5", "2019-01-21T00:00:00Z"),
    ("v2.6", "2019-01-25T00:00:00Z"),
    ("v2.7", "2018-01-25T12:00:00Z"),
    ("v2.8", "2019-02-12T00:00:00Z"),
    ("v2.9", "2019-03-04T00:00:00Z"),
    ("v2.10", "2019-03-05T00:00:00Z"),
    ("v2.11", "2019-06-24T00:00:00Z"),
    ("v2.12", "2019-09-11T00:00:00Z"),
    ("v2.13", "2019-09-13T00:00:00Z"),
    ("v2.14", "2019-11-10T00:00:00Z"),
    ("v2.15", "2020-03-10T00:00:00Z"),
    ("v2.16", "2020-03-15T00:00:00Z"),
    ("v2.17", "2020-04-29T00:00:00Z"),
    ("v2.18", "2020-04-29T01:00:00Z"),
    ("v2.19", "2020-05-12T00:00:00Z"),
    ("v2.20", "2020-08-02T00:00:00Z"),
    ("v2.21", "2020-09-03T00:00:00Z"),
    ("v2.22", "2020-09-04T00:00:00Z"),
    ("v2.23", "2020-09-07T00:00:00Z"),
    ("v2.24", "2020-10-15T00:00:00Z"),
    ("v2.25", "2021-10-02T00:00:00Z"),
    ("v2.26", "2022-08-29T00:00:00Z"),
    ("v2.27", "2023-05-05T00:00:00Z"),
    ("v2.28", "2023-11-08T00:00:00Z"),
    ("v2.29", "2024-10-15T00:00:00Z"),
    ("v2.30", "2025-02-26T00:00:00Z"),
)
"""(version, since when), ascending. Clients read the last entry, and that its status is CURRENT."""
MOUNT = "/load-balancer"


async def discover(call: Call) -> Response:
    mount = MOUNT if call.scope["path"].startswith(MOUNT) and not call.door.settings.api_base_uri else ""
    href = f"{call.base_url}{mount}/v2"
    newest = VERSIONS[-1][0]
    found = [
        {
            "id": name,
            "status": "CURRENT" if name == newest else "SUPPORTED",
            "updated": updated,
            "links": [{"href": href, "rel": "self"}],
        }
        for name, updated in VERSIONS
    ]
    return answer(200, {"versions": found})
