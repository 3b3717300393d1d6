# SPDX-License-Identifier: Apache-2.0
"""The health monitor: how a pool's members are checked."""

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from caryatid.errors import Fault

from .field import Access, Listed, Ref
from .kind import Kind
from .resource import Named, Provisioned
from .types import HostName, Id, Int, UrlPath

MonitorType = Literal["HTTP", "HTTPS", "PING", "TCP", "TLS-HELLO", "UDP-CONNECT", "SCTP"]
Method = Literal["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"]
Seconds = Annotated[Int, Field(ge=0, le=86_400)]
HTTP_ONLY = ("http_method", "url_path", "expected_codes", "http_version", "domain_name")
UDP_CONNECT_DELAY_MIN = 3
VERSIONS = {"1": 1.0, "1.0": 1.0, "1.1": 1.1}


def _version(value: object) -> float:
    version = VERSIONS.get(str(value).strip())
    if version is None or isinstance(value, bool):
        raise ValueError("Value should be one of: 1.0, 1.1")
    return version


HttpVersion = Annotated[float, BeforeValidator(_version), WithJsonSchema({"type": "number", "enum": [1.0, 1.1]})]


class HealthMonitor(Named, Provisioned):
    """How the members of a pool are checked, and how often before a verdict."""

    pool_id: Annotated[Id, Access("create"), Ref("pool", shown="pools")]
    """The pool whose members it checks; a pool has one at most."""
    type: Annotated[MonitorType, Access("create"), Listed()]
    """What is tried."""
    delay: Annotated[Seconds, Listed()]
    """Seconds between two checks of a member."""
    timeout: Seconds
    """Seconds after which a check has failed."""
    max_retries: Annotated[Int, Field(ge=1, le=10)]
    """Checks in a row that must succeed before a member is ONLINE."""
    max_retries_down: Annotated[Int, Field(ge=1, le=10)] = 3
    """Checks in a row that must fail before a member is in ERROR."""
    http_method: Method | None = None
    """Method of the request (HTTP and HTTPS); default GET."""
    url_path: UrlPath | None = None
    """Path of the request (HTTP and HTTPS); default /."""
    expected_codes: Annotated[str, Field(max_length=64, pattern=r"^(\d{3}(\s*,\s*\d{3})*)$|^(\d{3}-\d{3})$")] | None = (
        None
    )
    """Answers that count as success: `200`, `200,202` or `200-204`; default 200."""
    http_version: HttpVersion | None = None
    """Version of HTTP in the request."""
    domain_name: HostName | None = None
    """Host header of the request; needs http_version 1.1."""

    @model_validator(mode="after")
    def _fill_http(self) -> Self:
        if self.type in ("HTTP", "HTTPS"):
            self.http_method = self.http_method or "GET"
            self.url_path = self.url_path or "/"
            self.expected_codes = self.expected_codes or "200"
        return self

    def faults(self) -> Iterator[Fault]:
        if self.type not in ("HTTP", "HTTPS"):
            for name in HTTP_ONLY:
                if getattr(self, name) is not None:
                    yield Fault(
                        f"Validation failure: {name} is not a valid option for health monitors of type {self.type}",
                        name,
                    )
        elif self.domain_name and self.http_version is None:
            yield Fault(
                "Validation failure: 'http_version' must be specified when 'domain_name' is provided.", "http_version"
            )
        elif self.domain_name and self.http_version == 1.0:
            yield Fault(
                "Validation failure: http_version 1.0 is not a valid option for health monitors HTTP 1.1 domain name "
                "health check",
                "http_version",
            )
        if self.type == "UDP-CONNECT" and self.delay < UDP_CONNECT_DELAY_MIN:
            yield Fault(
                f"Validation failure: The request delay value {self.delay} should be larger than "
                f"{UDP_CONNECT_DELAY_MIN} for UDP-CONNECT health monitor type.",
                "delay",
            )


HEALTHMONITOR = Kind(
    name="healthmonitor",
    model=HealthMonitor,
    title="Health Monitor",
    path="/lbaas/healthmonitors",
    plural="healthmonitors",
    links="healthmonitors_links",
    counted=True,
    unique=(("pool_id",),),
)
