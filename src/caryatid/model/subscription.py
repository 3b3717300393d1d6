# SPDX-License-Identifier: Apache-2.0
"""Webhooks: who wants to be told of events at a URL of theirs, and what could not be delivered there yet."""

import base64
import binascii
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, WithJsonSchema

from caryatid.errors import Fault

from . import field
from .event import Sought
from .field import Access, Key, Listed, Ref
from .kind import Kind
from .resource import Dated, Described, Owned
from .types import Bool, Id, Int, Name, ProjectId, Time, http_url

GENERATED = Access("generated")
URL_MAX: Final = 2048
PREFIX: Final = "whsec_"
SECRET_BYTES: Final = 32
"""Of a secret that is made here."""
SECRET_BYTES_MIN: Final = 24
SECRET_BYTES_MAX: Final = 64
"""Standard Webhooks, "Signature scheme"."""
TYPES_MAX: Final = 100
DeliveryState = Literal["pending", "dead"]


def secret_bytes(text: str) -> bytes:
    """The key that a secret as it is written stands for. Raises ValueError with a sentence that shows nothing of it."""
    try:
        key = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not text.startswith(PREFIX) or not SECRET_BYTES_MIN <= len(key) <= SECRET_BYTES_MAX:
        limits = f"{SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes"
        raise ValueError(f"Value should be {PREFIX} and {limits} in base64")
    return key


def secret_fault(text: str) -> Iterator[Fault]:
    """What is wrong with a secret; does not show it."""
    try:
        secret_bytes(text)
    except ValueError as error:
        yield Fault(f"Invalid input for field/attribute secret. {error}", "secret")


def secret_text(key: bytes) -> str:
    """As the user is shown it."""
    return PREFIX + base64.b64encode(key).decode()


def _callback(value: str) -> str:
    parts = urlsplit(http_url(value))
    if parts.username is not None or parts.fragment:
        raise ValueError("Value should have neither a user nor a fragment in it")
    return value


CallbackUrl = Annotated[
    str,
    Field(max_length=URL_MAX),
    AfterValidator(_callback),
    WithJsonSchema({"type": "string", "format": "uri", "maxLength": URL_MAX}),
]
EventType = Annotated[str, Field(max_length=128, pattern=r"^[a-z0-9_]+\.([a-z0-9_.]+|\*)$")]


class Subscription(Described, Owned, Dated):
    """A URL to which events are posted, signed as Standard Webhooks says."""

    project_id: Annotated[ProjectId, Access("create"), Key(36)]
    """The project that it belongs to, and whose events are sent; default: the caller's."""
    callback_url: Annotated[CallbackUrl, Listed()]
    """Where events are posted to: `http` or `https`, at a public address, or one that the operator allows
    (`webhook_private_targets`)."""
    event_types: Annotated[list[EventType], Field(max_length=TYPES_MAX)] = []
    """Only events of these types: `loadbalancer.create`, or all of a kind of resource, `member.*`; []: all."""
    loadbalancer_id: Id | None = None
    """Only events of this load balancer and of what belongs to it."""
    all_projects: Annotated[Bool, Access(on_null=False)] = False
    """Events of all projects, and of what belongs to none. Only for those who may see all events; so is every change of
    such a subscription."""
    enabled: Annotated[Bool, Access(on_null=False), Listed()] = True
    """False: nothing is sent. What happens meanwhile is sent when it is enabled again, as far as events are kept. A
    receiver that answers 410 has disabled it."""
    secret: Annotated[str | None, Access("create"), field.Secret()] = None
    """What deliveries are signed with: `whsec_` and 24 to 64 bytes in base64; default: one is made."""
    signing_secret: Annotated[Name | None, Access("generated", unset_shown=False)] = None
    """The same, shown once: in the answer to the request that has set it."""
    old_secret_until: Annotated[Time | None, GENERATED] = None
    """Until when deliveries are signed with the secret before, too. UTC."""
    cursor: Annotated[Name, GENERATED] = "0"
    """How far it is in the log of events: what comes before was delivered, or is among its deliveries."""
    delivered_at: Annotated[Time | None, GENERATED, Listed()] = None
    """When the receiver last accepted something. UTC."""
    failed_at: Annotated[Time | None, GENERATED] = None
    """When it last did not. UTC."""
    failures: Annotated[Int, GENERATED, Listed()] = 0
    """Events in a row that it has not accepted. From 5 on it is taken to be down, and tried less and less often."""
    trouble: Annotated[str | None, GENERATED] = None
    """Why not."""

    def faults(self) -> Iterator[Fault]:
        if self.secret is not None:
            yield from secret_fault(self.secret)

    @property
    def sought(self) -> Sought:
        """Which events it wants."""
        project_id = None if self.all_projects else self.project_id
        return Sought(types=self.event_types, project_id=project_id, loadbalancer_id=self.loadbalancer_id)


class Delivery(Owned, Dated):
    """An event that a receiver has not accepted: it is tried again for a day, and then kept until somebody asks for it
    to be replayed. What was delivered is not kept here."""

    created_at: Annotated[Time, GENERATED, Key(26), Listed()]
    """When it first failed. UTC."""
    updated_at: Annotated[Time | None, GENERATED, Key(26)] = None
    """When it was last tried. UTC."""
    subscription_id: Annotated[Id, GENERATED, Ref("subscription")]
    """The subscription."""
    event_id: Annotated[Name, GENERATED, Key(), Listed()]
    """The event. Its `webhook-id` is this, with `evt_` before it and no dots."""
    event_type: Annotated[Name, GENERATED, Listed()]
    """What has happened."""
    state: Annotated[DeliveryState, GENERATED, Key(16), Listed()] = "pending"
    """`pending`: it is tried again. `dead`: no more, unless it is replayed."""
    attempts: Annotated[Int, GENERATED, Listed()] = 1
    """How often it was tried."""
    since: Annotated[Time, GENERATED]
    """Since when it is being tried; a replay begins anew. UTC."""
    next_at: Annotated[Time | None, GENERATED, Key(26)] = None
    """When it is tried again. UTC; null: it is dead."""
    status: Annotated[Int | None, GENERATED] = None
    """What the receiver answered last; null: nothing."""
    reason: Annotated[str, GENERATED, Listed()] = ""
    """Why it was not delivered."""
    event: Annotated[dict[str, Any], GENERATED] = {}
    """What was to be delivered."""


SUBSCRIPTION = Kind(
    name="subscription",
    model=Subscription,
    title="Subscription",
    path="/subscriptions",
    plural="subscriptions",
    links="subscriptions_links",
    root=None,
)
DELIVERY = Kind(
    name="delivery",
    model=Delivery,
    title="Delivery",
    path="/subscriptions/{subscription_id}/deliveries",
    plural="deliveries",
    links="deliveries_links",
    parent="subscription_id",
    root=None,
    unique=(("subscription_id", "event_id"),),
)
