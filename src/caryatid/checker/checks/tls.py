# SPDX-License-Identifier: Apache-2.0
"""A TLS handshake, and how long the certificate that is shown is still good."""

import asyncio
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

from cryptography.x509 import load_der_x509_certificate

from caryatid.model.gslb.parameters import Tls as Parameters

from .base import Failed, Means, Place, port_of, read


class Tls:
    def __init__(self, parameters: Mapping[str, Any], means: Means) -> None:
        self._wanted = read(Parameters, parameters)
        self._context = means.contexts.secured(self._wanted)

    async def ask(self, place: Place) -> None:
        place.doing = "connecting, with TLS"
        name = (self._wanted.sni or place.name).rstrip(".")
        transport, _ = await asyncio.get_running_loop().create_connection(
            asyncio.Protocol, place.address, port_of(self._wanted, place), ssl=self._context, server_hostname=name
        )
        try:
            self._judge(cast(ssl.SSLObject, transport.get_extra_info("ssl_object")).getpeercert(binary_form=True))
        finally:
            transport.abort()

    def _judge(self, shown: bytes | None) -> None:
        if shown is None:
            raise Failed("it shows no certificate")
        try:
            ends = load_der_x509_certificate(shown).not_valid_after_utc
        except ValueError:
            raise Failed("it shows something that is no certificate") from None
        days = (ends - datetime.now(UTC)).days
        if days < self._wanted.minimum_days:
            raise Failed(
                f"its certificate is good until {ends:%Y-%m-%d}: {days} days, expected {self._wanted.minimum_days}"
            )
