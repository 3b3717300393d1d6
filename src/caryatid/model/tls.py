# SPDX-License-Identifier: Apache-2.0
"""What listeners and pools say alike about TLS."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from pydantic import Field

from caryatid.errors import Fault

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

OLDEST_FIRST: tuple[TlsVersion, ...] = get_args(TlsVersion)
SUITE = "TLS_"
"""What names of TLS 1.3's cipher suites begin with. They are for it alone, and no others are."""
SUITES = frozenset({
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_AES_128_CCM_SHA256",
    "TLS_AES_128_CCM_8_SHA256",
})  # fmt: skip


@dataclass(frozen=True)
class TlsPolicy:
    """What the operator does not want spoken, whoever wants it. Raises ValueError if it leaves none of our defaults."""

    minimum: TlsVersion | None = None
    prohibited: tuple[str, ...] = ()
    """Names of ciphers."""

    def __post_init__(self) -> None:
        left = [name for name in CIPHERS.split(":") if name not in self.prohibited]
        if len({name.startswith(SUITE) for name in left}) < 2:  # noqa: PLR2004  of TLS 1.3, and of those before
            raise ValueError("They prohibit every cipher that is spoken by default in TLS 1.3, or before it.")

    def bars(self, version: TlsVersion) -> bool:
        return self.minimum is not None and OLDEST_FIRST.index(version) < OLDEST_FIRST.index(self.minimum)


def contiguous(versions: Sequence[TlsVersion]) -> Sequence[TlsVersion]:
    """Oldest first, down from the newest to the first gap."""
    wanted = [version for version in OLDEST_FIRST if version in versions]
    newest = OLDEST_FIRST.index(wanted[-1]) if wanted else -1
    return [version for at, version in enumerate(reversed(wanted)) if OLDEST_FIRST[newest - at] == version][::-1]


def cipher_faults(ciphers: str | None, versions: Sequence[TlsVersion] | None) -> Iterator[Fault]:
    """What of a list of ciphers nobody could speak."""
    names = ciphers.split(":") if ciphers else []
    unknown = [name for name in names if name.startswith(SUITE) and name not in SUITES]
    if unknown:
        yield Fault(
            f"Validation failure: There is no TLS 1.3 cipher suite {', '.join(unknown)}; there are "
            f"{', '.join(sorted(SUITES))}.",
            "tls_ciphers",
        )
    older = [version for version in versions or () if version != "TLSv1.3"]
    if names and older and all(name.startswith(SUITE) for name in names):
        yield Fault(
            f"Validation failure: None of tls_ciphers is for {', '.join(older)}: name one, or leave "
            f"{'it' if len(older) == 1 else 'them'} out of tls_versions.",
            "tls_ciphers",
        )


def barred(ciphers: str | None, versions: Sequence[TlsVersion] | None, *, policy: TlsPolicy) -> Iterator[Fault]:
    """What of it the operator does not want spoken. Our defaults are no wish: what is barred is left out of them."""
    names = [name for name in (ciphers or "").split(":") if name in policy.prohibited]
    if names and ciphers != CIPHERS:
        yield Fault(
            "Validation failure: The following ciphers have been prohibited by an administrator: " + ", ".join(names),
            "tls_ciphers",
        )
    low = [version for version in versions or () if policy.bars(version)]
    if low and list(versions or ()) != list(VERSIONS):
        yield Fault(
            "Validation failure: Requested TLS versions are less than the minimum: "
            f"{', '.join(low)} < {policy.minimum}",
            "tls_versions",
        )
