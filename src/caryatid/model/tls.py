# SPDX-License-Identifier: Apache-2.0
"""What listeners and pools say alike about TLS."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

TlsVersion = Literal["SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"]
AlpnProtocol = Literal["h2", "http/1.1", "http/1.0"]
TlsVersions = Annotated[list[TlsVersion], Field(min_length=1, max_length=5)]
AlpnProtocols = Annotated[list[AlpnProtocol], Field(min_length=1, max_length=3)]

CIPHERS = (
    "TLS_AES_128_GCM_SHA256:"
    "TLS_AES_256_GCM_SHA384:"
    "TLS_CHACHA20_POLY1305_SHA256:"
    "ECDHE-ECDSA-AES128-GCM-SHA256:"
    "ECDHE-RSA-AES128-GCM-SHA256:"
    "ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:"
    "ECDHE-ECDSA-CHACHA20-POLY1305:"
    "ECDHE-RSA-CHACHA20-POLY1305:"
    "DHE-RSA-AES128-GCM-SHA256:"
    "DHE-RSA-AES256-GCM-SHA384:"
    "DHE-RSA-CHACHA20-POLY1305"
)
VERSIONS: Sequence[TlsVersion] = ("TLSv1.2", "TLSv1.3")
ALPN: Sequence[AlpnProtocol] = ("h2", "http/1.1", "http/1.0")
