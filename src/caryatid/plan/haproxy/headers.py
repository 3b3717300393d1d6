# SPDX-License-Identifier: Apache-2.0
"""What a listener adds to requests on their way to members, and to answers.

Set, not added to: what a client says in a header that is inserted is dropped. As soon as one header about client
certificates is inserted, everything that could be taken for one is: other servers read `X_SSL_Client_CN` as
`X-SSL-Client-CN`. Who a client is stands there only if its certificate was found good.
"""

from collections.abc import Iterator, Mapping

from caryatid.model.listener import TLS_HEADERS, Listener
from caryatid.plan import quote

FORWARDED = {
    "X-Forwarded-Port": "%[dst_port]",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-IP": "%[src]",
    "X-Client-IP": "%[src]",
    "X-Real-IP": "%[src]",
}
HANDSHAKE = {
    "X-SSL-Client-Verify": "%[ssl_c_verify]",
    "X-SSL-Client-Has-Cert": "%[ssl_c_used]",
}
IDENTITY = {
    "X-SSL-Client-DN": "%[ssl_c_s_dn]",
    "X-SSL-Client-CN": "%[ssl_c_s_dn(cn)]",
    "X-SSL-Issuer": "%[ssl_c_i_dn]",
    "X-SSL-Client-SHA1": "%[ssl_c_sha1,hex]",
    "X-SSL-Client-Not-Before": "%[ssl_c_notbefore]",
    "X-SSL-Client-Not-After": "%[ssl_c_notafter]",
}


def requests(listener: Listener) -> Iterator[str]:
    """Directives of a backend."""
    wanted = {name for name, value in listener.insert_headers.items() if value.lower() == "true"}
    if "X-Forwarded-For" in wanted:
        yield "option forwardfor"
    if listener.protocol == "TERMINATED_HTTPS":
        yield from _set(wanted, {**FORWARDED, "X-Forwarded-Proto": "https"})
        if wanted.intersection(TLS_HEADERS):
            yield "http-request del-header ^x[-_]ssl[-_](client[-_]|issuer$) -m reg"
        yield from _set(wanted, HANDSHAKE)
        yield from _set(wanted, IDENTITY, " if { ssl_c_used } { ssl_c_verify 0 }")
    elif listener.protocol == "HTTP":
        yield from _set(wanted, FORWARDED)


def _set(wanted: set[str], values: Mapping[str, str], condition: str = "") -> Iterator[str]:
    for name, value in values.items():
        if name in wanted:
            yield f"http-request set-header {name} {value}{condition}"


def answers(listener: Listener) -> Iterator[str]:
    """Directives of a frontend; for HAProxy's own answers too."""
    if listener.hsts_max_age is not None:
        wanted = [f"max-age={listener.hsts_max_age:d}"]
        wanted += ["includeSubDomains"] if listener.hsts_include_subdomains else []
        wanted += ["preload"] if listener.hsts_preload else []
        yield f"http-after-response set-header Strict-Transport-Security {quote.log_format('; '.join(wanted))}"
