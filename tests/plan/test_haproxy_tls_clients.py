# SPDX-License-Identifier: Apache-2.0
"""Who comes in by which certificate, what rules make of it, and what members and logs are told."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given as whatever
from hypothesis import settings as within
from hypothesis import strategies as some

from caryatid.plan.haproxy import RenderSettings, render
from tests.certificates import Authority
from tests.plan.test_haproxy_behaviour import PORT, members, pool, rule, until, web
from tests.plan.test_haproxy_logs import receiving, settings_for
from tests.plan.tls import Client, Grow, authority, run, secure, shown

__all__ = ["authority", "members", "secure", "shown"]
IDENTITY = {
    "x-ssl-client-verify": "0",
    "x-ssl-client-has-cert": "1",
    "x-ssl-client-dn": "/CN=Alice",
    "x-ssl-client-cn": "Alice",
    "x-ssl-issuer": "/CN=Authority",
}
TOLD = (*IDENTITY, "x-ssl-client-sha1", "x-ssl-client-not-before", "x-ssl-client-not-after")


def authenticated(how: str, **listener: Any) -> dict[str, Any]:
    headers = dict.fromkeys(
        ["X-SSL-Client-Verify", "X-SSL-Client-Has-Cert", "X-SSL-Client-DN", "X-SSL-Client-CN", "X-SSL-Issuer",
         "X-SSL-Client-SHA1", "X-SSL-Client-Not-Before", "X-SSL-Client-Not-After"], "true",
    )  # fmt: skip
    refs = {"client_ca_tls_container_ref": "authorities", "client_crl_container_ref": "lists"}
    return {"client_authentication": how, **refs, "insert_headers": headers, **listener}


@pytest.mark.parametrize(("how", "let_in"), [
    ("MANDATORY", {"good", "odd"}),
    ("OPTIONAL", {"good", "odd", ""}),
    ("NONE", {"good", "odd", "", "revoked", "expired", "stranger"}),
])  # fmt: skip
def test_clients_come_in_by_their_certificates(
    secure: Any, authority: Authority, shown: dict[str, Path], how: str, let_in: set[str]
) -> None:
    revoked = authority.sign("Eve")
    shown["revoked"].write_text(authority.file(revoked))
    lists = authority.revocations(revoked)
    with secure(**authenticated(how), given={"lists": lists}) as client:
        for option in ("--tlsv1.3", "--tls-max=1.2"):
            words = {name: ["--cert", str(file)] for name, file in shown.items()} | {"": []}
            came = {name for name, cert in words.items() if client.ask(*option.split("="), *cert)[0] == 200}
            assert came == let_in


def test_without_lists_revoked_clients_come_in(secure: Any, shown: dict[str, Path]) -> None:
    with secure(**authenticated("MANDATORY", client_crl_container_ref=None)) as client:
        assert client.ask("--cert", str(shown["revoked"]))[0] == 200
        assert client.ask("--cert", str(shown["stranger"]))[0] == 0


@pytest.mark.parametrize("option", ["--http1.1", "--http2"])
def test_members_are_told_who_the_client_is_whatever_it_says_itself(
    secure: Any, shown: dict[str, Path], option: str
) -> None:
    lies = {"X_SSL_Client_CN": "root", "x_ssl_client_verify": "0"}
    with secure(**authenticated("OPTIONAL")) as client:
        told = client.told(option, "--cert", str(shown["good"]), **lies, X_SSL_Issuer="me")
        assert IDENTITY.items() <= told.items()
        assert re.fullmatch("[0-9A-F]{40}", told["x-ssl-client-sha1"])
        assert re.fullmatch("[0-9]{12}Z", told["x-ssl-client-not-before"])
        assert re.fullmatch("[0-9]{12}Z", told["x-ssl-client-not-after"])
        nobody = client.told(option, **dict.fromkeys(map(str.title, TOLD), "root"))
        assert {name: value for name, value in nobody.items() if "ssl" in name} == {
            "x-ssl-client-verify": "0", "x-ssl-client-has-cert": "0",
        }  # fmt: skip


def test_underscores_smuggle_nothing(secure: Any) -> None:
    with secure(**authenticated("OPTIONAL", insert_headers={"X-SSL-Client-CN": "true"})) as client:
        lies = ["-H", "X_SSL_Client_CN: root", "-H", "x-ssl_client-verify: 0", "-H", "X-SSL-Other: kept"]
        told = client.told(*lies)
        assert {name for name in told if "ssl" in name} == {"x-ssl-other"}


def test_a_name_is_no_syntax(secure: Any, shown: dict[str, Path]) -> None:
    with secure(**authenticated("MANDATORY")) as client:
        told = client.told("--cert", str(shown["odd"]))
        assert "x-evil" not in told
        assert told["x-ssl-client-cn"].startswith("Odd%0D%0AX-Evil: 1%0A")


def policies(*decisions: tuple[dict[str, Any], str]) -> list[dict[str, Any]]:
    return [
        {"action": "REDIRECT_TO_URL", "redirect_url": f"https://{to}/", "rules": [condition]}
        for condition, to in decisions
    ]


def sent(client: Client, *options: str) -> str:
    """Where a client is sent: the host of the redirection, `in` or `out`."""
    status, _, said = client.ask(*options)
    return said["location"].removeprefix("https://").removesuffix("/") if status == 302 else "in" if status else "out"


def test_rules_decide_about_certificates_and_bad_ones_name_nobody(secure: Any, shown: dict[str, Path]) -> None:
    alice = policies((rule("SSL_DN_FIELD", "EQUAL_TO", "Alice", "CN"), "alice"))
    has = policies((rule("SSL_CONN_HAS_CERT", "EQUAL_TO", "true", invert=True), "none"))
    bad = policies((rule("SSL_VERIFY_RESULT", "EQUAL_TO", "0", invert=True), "bad"))
    names = ["good", "stranger", "expired"]
    clients = {"": [], **{name: ["--cert", str(shown[name])] for name in names}}
    expected = {
        "strict": (alice + has, {"": "none", "good": "alice", "stranger": "out", "expired": "out"}),
        "judged": (alice + has + bad, {"": "none", "good": "alice", "stranger": "bad", "expired": "bad"}),
    }
    for wanted, went in expected.values():
        with secure(**authenticated("OPTIONAL", client_crl_container_ref=None, l7policies=wanted)) as client:
            assert {name: sent(client, *words) for name, words in clients.items()} == went


def test_a_bad_certificate_that_no_rule_turns_away_comes_as_nobody(secure: Any, shown: dict[str, Path]) -> None:
    never = {"action": "REJECT", "rules": [rule("SSL_VERIFY_RESULT", "EQUAL_TO", "999")]}
    with secure(**authenticated("OPTIONAL", client_crl_container_ref=None, l7policies=[never])) as client:
        told = client.told("--cert", str(shown["stranger"]))
        assert {name for name in told if "ssl" in name} == {"x-ssl-client-verify", "x-ssl-client-has-cert"}
        assert int(told["x-ssl-client-verify"]) > 0


def test_where_a_certificate_is_mandatory_no_rule_lets_a_bad_one_in(secure: Any, shown: dict[str, Path]) -> None:
    asks = policies((rule("SSL_VERIFY_RESULT", "EQUAL_TO", "0", invert=True), "bad"))
    with secure(**authenticated("MANDATORY", l7policies=asks)) as client:
        assert sent(client, "--cert", str(shown["stranger"])) == "out"
        assert sent(client) == "out"


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_session_is_taken_up_and_the_client_is_still_known(
    secure: Any, shown: dict[str, Path], tmp_path: Path, version: str
) -> None:
    asks = policies((rule("SSL_DN_FIELD", "EQUAL_TO", "Alice", "CN"), "alice"))
    with secure(**authenticated("OPTIONAL", l7policies=asks)) as client:
        saved = str(tmp_path / "session")
        words = [version, "-cert", str(shown["good"]), "-ign_eof", "-connect", f"{client.balancer.vip}:{PORT}"]
        request = "GET / HTTP/1.0\r\nHost: www.example\r\n\r\n"
        first = run(["openssl", "s_client", *words, "-sess_out", saved], request).stdout
        again = run(["openssl", "s_client", *words, "-sess_in", saved], request).stdout
        assert ("New, " in first, "Reused, " in again) == (True, True)
        assert "location: https://alice/" in again
        assert "TLS session ticket:" not in first or version == "-tls1_3"


def test_a_flow_is_told_with_what_is_known_of_its_client(secure: Any, shown: dict[str, Path]) -> None:
    with receiving("udp") as receiver:
        logs = {"logs": settings_for("udp", receiver.port, None)}
        with secure(**authenticated("OPTIONAL"), settings=logs) as client:
            for name in ("good", "odd"):
                assert client.ask("--cert", str(shown[name]), path=f"/{name}")[0] == 200
                assert until(lambda: bool(receiver.having(f"GET https://www.example:{PORT}/{name}")), 10)  # noqa: B023
        assert ' 0 "/CN=Alice" ' in receiver.having("/good ")[0]


def test_a_name_is_no_line_of_a_log(secure: Any, shown: dict[str, Path]) -> None:
    with receiving("udp") as receiver:
        said = "{{ lb_id }} %HPO %{+Q}[ssl_c_s_dn] %[ssl_c_s_dn(CN)] %[ssl_fc_sni]"
        logs = {"logs": settings_for("udp", receiver.port, None, format=said)}
        with secure(**authenticated("OPTIONAL"), settings=logs) as client:
            assert client.ask("--cert", str(shown["odd"]))[0] == 200
            assert until(lambda: bool(receiver.having("X-Evil")), 10)
        (line,) = receiver.having("X-Evil")
        assert line.endswith('"/CN=Odd??X-Evil: 1??%[src]é" Odd??X-Evil: 1??%[src]é www.example\n')


@whatever(some.text(min_size=1, max_size=255).filter(str.isprintable))
@within(max_examples=50, deadline=None)
def test_a_reference_is_no_text_of_the_configuration(grow: Grow, authority: Authority, reference: str) -> None:
    """Only its digest is, and nothing of what it stands for."""
    refs = {"default_tls_container_ref": reference, "sni_container_refs": [f"{reference}2"]}
    tree = grow(web("127.0.0.1", [pool("a", [1])], protocol="TERMINATED_HTTPS", **refs))
    certificate = authority.keypair("evil\nglobal\n    daemon", "www.example")
    rendered = render(authority.bundles(tree, **dict.fromkeys((reference, f"{reference}2"), certificate)),
                      settings=RenderSettings())  # fmt: skip
    words = "\n".join([rendered.text, *rendered.files.values()])
    assert re.fullmatch(r"[\x20-\x7e\n]*", words)
    assert "evil" not in words
    assert len(re.findall(r"[0-9a-f]{32}\.pem", words)) == 2
