# SPDX-License-Identifier: Apache-2.0
"""What a scanner of TLS servers finds in a listener that says nothing but its certificate."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from caryatid.model.tree import Tree
from tests.certificates import Authority
from tests.plan.test_haproxy_behaviour import PORT, members, pool
from tests.plan.tls import authority, secured
from tests.programs import program

__all__ = ["authority", "members"]
Grow = Callable[[Any], Tree]
SCAN_S = 120
TRIES = (
    "--certinfo", "--sslv2", "--sslv3", "--tlsv1", "--tlsv1_1", "--tlsv1_2", "--tlsv1_3", "--compression", "--resum",
    "--early_data", "--openssl_ccs", "--fallback", "--heartbleed", "--robot", "--reneg", "--elliptic_curves", "--ems",
)  # fmt: skip
FORWARD_SECRET = ("TLS_AES", "TLS_CHACHA20", "TLS_ECDHE", "TLS_DHE")
AEAD = ("GCM", "CHACHA20_POLY1305")


@pytest.fixture(scope="module", params=["P-256", "RSA-2048"])
def scan(
    grow: Grow, authority: Authority, members: list[int], tmp_path_factory: Any, request: Any
) -> dict[str, Any]:
    """The scanner's findings, by its name for what it tried."""
    report = tmp_path_factory.mktemp("scan") / "report.json"
    given = {"www.example": authority.keypair("www.example", "www.example", kind=request.param)}
    with secured(grow, authority, [pool("a", members[:1])], given=given) as client:
        where = f"www.example:{PORT}{{{client.balancer.vip}}}"
        command = [program("sslyze"), "--json_out", report, *TRIES, "--mozilla_config", "intermediate", where]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SCAN_S)
    (found,) = json.loads(Path(report).read_text())["server_scan_results"]
    assert found["connectivity_status"] == "COMPLETED", found
    attempts: dict[str, dict[str, Any]] = found["scan_result"]
    assert {name for name, one in attempts.items() if one["status"] == "ERROR"} == set()
    judged = {"findings": re.findall(r"^        \* (\w+): ", done.stdout, re.MULTILINE)}
    return {name: one["result"] for name, one in attempts.items() if one["status"] == "COMPLETED"} | judged


def accepted(scan: dict[str, Any], version: str) -> list[str]:
    return [one["cipher_suite"]["name"] for one in scan[f"{version}_cipher_suites"]["accepted_cipher_suites"]]


@pytest.mark.timeout(500)
def test_tls_1_2_and_1_3_alone_are_spoken(scan: dict[str, Any]) -> None:
    spoken = {version: bool(accepted(scan, version))
              for version in ("ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1", "tls_1_2", "tls_1_3")}  # fmt: skip
    assert [version for version, spoken in spoken.items() if spoken] == ["tls_1_2", "tls_1_3"]


def test_every_cipher_has_forward_secrecy_and_is_authenticated(scan: dict[str, Any]) -> None:
    for version in ("tls_1_2", "tls_1_3"):
        for name in accepted(scan, version):
            assert name.startswith(FORWARD_SECRET), name
            assert any(word in name for word in AEAD), name


def test_keys_are_exchanged_over_enough_bits(scan: dict[str, Any]) -> None:
    for version in ("tls_1_2", "tls_1_3"):
        for one in scan[f"{version}_cipher_suites"]["accepted_cipher_suites"]:
            assert one["ephemeral_key"]["size"] >= (2048 if one["ephemeral_key"]["type_name"] == "DH" else 253)


def test_no_known_weakness_is_found(scan: dict[str, Any]) -> None:
    assert scan["heartbleed"]["is_vulnerable_to_heartbleed"] is False
    assert scan["openssl_ccs_injection"]["is_vulnerable_to_ccs_injection"] is False
    assert scan["robot"]["robot_result"].startswith("NOT_VULNERABLE")
    assert scan["tls_compression"]["supports_compression"] is False
    assert scan["session_renegotiation"]["supports_secure_renegotiation"] is True
    assert scan["session_renegotiation"]["is_vulnerable_to_client_renegotiation_dos"] is False
    assert scan["tls_1_3_early_data"]["supports_early_data"] is False
    assert scan["tls_fallback_scsv"]["supports_fallback_scsv"] is True
    assert scan["tls_extended_master_secret"]["supports_ems_extension"] is True


def test_mozillas_recommendations_are_followed(scan: dict[str, Any]) -> None:
    assert scan["findings"] == ["certificate_path_validation"]  # nobody knows our authority


def test_sessions_are_taken_up_from_memory_and_not_by_tickets(scan: dict[str, Any]) -> None:
    assert scan["session_resumption"]["session_id_resumption_result"] == "FULLY_SUPPORTED"
    assert scan["session_resumption"]["tls_ticket_resumption_result"] == "NOT_SUPPORTED"
