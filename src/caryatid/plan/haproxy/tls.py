# SPDX-License-Identifier: Apache-2.0
"""TLS on the ports of listeners and towards members: certificates, versions, ciphers, and who is believed.

HAProxy takes another content of a named file at run time (`set ssl cert`, `ca-file`, `crl-file`), another list of
files with a reload. It loads what servers name only when it starts with such a server.

Sessions are kept in memory for five minutes instead of in tickets, whose key would live as long as the process and
open all that was recorded under it. Neither outlives a reload or a takeover: a client then makes a full handshake.
"""

from collections.abc import Iterator, Sequence
from hashlib import sha256

from caryatid.model.listener import Listener
from caryatid.model.pool import Pool
from caryatid.model.tls import CIPHERS, SUITE, VERSIONS, TlsPolicy, TlsVersion, contiguous
from caryatid.model.tree import ListenerNode
from caryatid.plan import quote

from . import l7
from .sheet import Sheet

SESSIONS = 4_096
"""Sessions that an HAProxy remembers: about a megabyte, used from the start."""
CURVES = "X25519:P-256:P-384"
"""On which keys are agreed: those that every client has one of. Larger ones only cost us more."""
OLD = frozenset({"SSLv3", "TLSv1", "TLSv1.1"})
"""Versions whose signatures (SHA-1) OpenSSL refuses to make unless it is told that nothing matters."""
NAMES = {"TLSv1": "TLSv1.0"}
"""Versions that HAProxy calls otherwise."""


def preamble(policy: TlsPolicy) -> Iterator[str]:
    """For the global section, where TLS is spoken at all: what a line that says nothing else has."""
    yield f"tune.ssl.cachesize {SESSIONS:d}"
    yield "tune.ssl.default-dh-param 2048"
    yield "crt-base @KEYS@"
    yield f"ssl-default-bind-curves {CURVES}"
    for side in ("bind", "server"):
        for directive in _lists(CIPHERS, policy):
            yield f"ssl-default-{side}-{directive}"


def port(sheet: Sheet, node: ListenerNode, policy: TlsPolicy) -> str:
    """What follows the address of a listener with certificates. The first is for whom none is chosen by name."""
    listener = node.listener
    first, *others = listener.certificates
    words = [f"ssl crt {sheet.key(first, 'keypair')}"]
    if others:
        words.append(f"crt-list {_list(sheet, others)}")
    words += _agreed(listener, policy)
    if listener.alpn_protocols:
        words.append(f"alpn {','.join(listener.alpn_protocols)}")
    words += _clients(sheet, node)
    return " ".join([*words, "no-tls-tickets"])


def _list(sheet: Sheet, references: Sequence[str]) -> str:
    """A file of certificates; a line of the configuration would not have room for many."""
    content = "".join(f"{sheet.key(reference, 'keypair').rpartition('/')[2]}\n" for reference in references)
    name = f"sni-{sha256(content.encode()).hexdigest()[:16]}.list"
    sheet.files[name] = content
    return f"@DIR@/{name}"


def _clients(sheet: Sheet, node: ListenerNode) -> Iterator[str]:
    """Whose certificates clients must or may show. A bad one ends the handshake, unless rules ask how bad it is."""
    listener = node.listener
    if listener.client_authentication == "NONE" or not listener.client_ca_tls_container_ref:
        return
    yield f"ca-file {sheet.key(listener.client_ca_tls_container_ref, 'authorities')}"
    yield f"verify {'required' if listener.client_authentication == 'MANDATORY' else 'optional'}"
    if listener.client_crl_container_ref:
        yield f"crl-file {sheet.key(listener.client_crl_container_ref, 'revocations')}"
    if l7.judges_certificates(node):
        yield "ca-ignore-err all crt-ignore-err all"


def towards(sheet: Sheet, pool: Pool, listener: Listener, policy: TlsPolicy, *, http: bool) -> str:
    """What the servers of a pool with TLS say. The name that the client asked for is asked of the member too; if its
    certificate is checked, it must bear that name."""
    words = ["ssl"]
    if pool.tls_container_ref:
        words.append(f"crt {sheet.key(pool.tls_container_ref, 'keypair')}")
    if pool.ca_tls_container_ref:
        words.append(f"verify required ca-file {sheet.key(pool.ca_tls_container_ref, 'authorities')}")
        if pool.crl_container_ref:
            words.append(f"crl-file {sheet.key(pool.crl_container_ref, 'revocations')}")
    else:
        words.append("verify none")
    if listener.certificates:
        words.append("sni ssl_fc_sni")
    words += _agreed(pool, policy)
    if pool.alpn_protocols and (http or len(pool.alpn_protocols) == 1):  # else only the client knows what it will speak
        words.append(f"alpn {','.join(pool.alpn_protocols)}")
    return " ".join(words)


def _agreed(row: Listener | Pool, policy: TlsPolicy) -> Iterator[str]:
    """Versions are a range; what is older than a gap in it is not spoken. If all are barred, the default ones are."""
    wanted = [version for version in contiguous(row.tls_versions or ()) if not policy.bars(version)]
    spoken = wanted or [version for version in VERSIONS if not policy.bars(version)]
    yield f"ssl-min-ver {_called(spoken[0])} ssl-max-ver {_called(spoken[-1])}"
    old = not OLD.isdisjoint(spoken)
    if row.tls_ciphers and (old or row.tls_ciphers != CIPHERS):
        yield from _lists(row.tls_ciphers, policy, *(["@SECLEVEL=0"] if old else []))


def _called(version: TlsVersion) -> str:
    return NAMES.get(version, version)


def _lists(ciphers: str, policy: TlsPolicy, *more: str) -> Iterator[str]:
    """OpenSSL's list as HAProxy's two: TLS 1.3 has one of its own. A name may stand for many, so what is prohibited is
    taken out of them."""
    names = [name for name in ciphers.split(":") if name not in policy.prohibited]
    suites = [name for name in names if name.startswith(SUITE)]
    others = [name for name in names if not name.startswith(SUITE)]
    if others:
        barred = [f"!{name}" for name in policy.prohibited if not name.startswith(SUITE)]
        yield f"ciphers {quote.word(':'.join([*others, *barred, *more]))}"
    if suites:
        yield f"ciphersuites {quote.word(':'.join(suites))}"
