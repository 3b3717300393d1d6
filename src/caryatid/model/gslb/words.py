# SPDX-License-Identifier: Apache-2.0
"""Words and types that global load balancing has of its own."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, WithJsonSchema

from caryatid.model.types import Int

GslbStatus = Literal["ONLINE", "DEGRADED", "DOWN", "NO_MONITOR", "UNKNOWN", "DRAINING", "DISABLED", "FAIL_OPEN"]
GSLB_OPERATING: dict[GslbStatus, str] = {
    "ONLINE": "Answered with, or ready to be.",
    "DEGRADED": "Answered with, though some of it is not well, or what comes first is down.",
    "DOWN": "Not well, as enough regions see it; not answered with.",
    "NO_MONITOR": "Answered with; nobody checks it.",
    "UNKNOWN": "Too few regions have said anything lately; what was known last stands.",
    "DRAINING": "Weight 0, or its time has come: not answered with, and whoever still comes is served.",
    "DISABLED": "Taken out by its owner.",
    "FAIL_OPEN": "Everything is down, and answered with nevertheless, as its owner wished.",
}
SteeringPolicy = Literal["failover", "multivalue", "weighted", "geo", "proximity", "latency", "source_hash"]
POLICIES: dict[SteeringPolicy, str] = {
    "failover": "The first pool that is well, all its members.",
    "multivalue": "All members of the pools of the best priority that are well, as many as `max_answers`.",
    "weighted": "One, by weights of pools, then of members.",
    "geo": "The pools of the first rule that fits where the client is; else the default ones.",
    "proximity": "The pool that is nearest to the client, distances stretched or shrunk by its bias.",
    "latency": "The pool that answers fastest as measured from the region nearest to the client.",
    "source_hash": "One, always the same for the same network of the client, as long as it is well.",
}
LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
NAME = re.compile(rf"(\*\.)?({LABEL}\.)+")
NAME_MAX = 254


def _fqdn(value: str) -> str:
    name = value if value.endswith(".") else f"{value}."
    if len(name) > NAME_MAX or not NAME.fullmatch(name):
        raise ValueError("Value should be a domain name")
    return name.lower()


def _country(value: str) -> str:
    return value.upper()


Fqdn = Annotated[
    str, AfterValidator(_fqdn), WithJsonSchema({"type": "string", "format": "hostname", "maxLength": NAME_MAX})
]
"""A domain name, absolute, in lower case; a dot at its end is added. It may begin with `*.`."""
Country = Annotated[str, Field(pattern=r"^[A-Za-z]{2}$"), AfterValidator(_country)]
"""ISO 3166-1, two letters."""
Continent = Literal["AF", "AN", "AS", "EU", "NA", "OC", "SA"]
Asn = Annotated[Int, Field(ge=1, le=4_294_967_295)]
Priority = Annotated[Int, Field(ge=0, le=65_535)]
Weight = Annotated[Int, Field(ge=0, le=65_535)]
Latitude = Annotated[float, Field(ge=-90, le=90, strict=False)]
Longitude = Annotated[float, Field(ge=-180, le=180, strict=False)]
