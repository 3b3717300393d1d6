# SPDX-License-Identifier: Apache-2.0
"""Log targets as operators write them, and what settings let through."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from caryatid.config import Settings
from caryatid.errors import CaryatidError
from caryatid.services.wiring import log_settings
from caryatid.target import Target, parse

AUTHORITY = Path(__file__).parent / "plan" / "log-ca.pem"


def test_targets_are_addresses_with_a_protocol_and_a_port_or_the_usual_ones() -> None:
    written = "192.0.2.1, tcp://192.0.2.2:601,tls://[2001:db8::1],udp://[2001:db8::2]:5514,"
    assert parse(written) == (
        Target("udp", "192.0.2.1", 514),
        Target("tcp", "192.0.2.2", 601),
        Target("tls", "2001:db8::1", 6514),
        Target("udp", "2001:db8::2", 5514),
    )
    assert parse("") == ()


@pytest.mark.parametrize("written", [
    "logs.example.org:514", "http://192.0.2.1", "192.0.2.1:0", "192.0.2.1:65536", "192.0.2.300", "2001:db8::1", "[::1",
    "192.0.2.1\n    log 192.0.2.9", "fd@3", "192.0.2.1 len 9", "/dev/log", "tcp://", "[192.0.2.1", "192.0.2.1:٣",
])  # fmt: skip
def test_what_could_keep_haproxy_from_starting_is_no_target(written: str) -> None:
    with pytest.raises(ValueError):
        parse(written)
    with pytest.raises(ValidationError):
        Settings(tenant_log_targets=written)


def test_a_tls_target_needs_somebody_to_believe_and_a_name() -> None:
    for given in ({}, {"log_tls_name": "logs.example.org"}, {"log_tls_ca": AUTHORITY}):
        with pytest.raises(ValidationError):
            Settings(admin_log_targets="tls://192.0.2.1", **given)
    known = Settings(admin_log_targets="tls://192.0.2.1", log_tls_ca=AUTHORITY, log_tls_name="logs.example.org")
    assert log_settings(known).tls_ca == AUTHORITY.read_text()


@pytest.mark.parametrize("content", ["", "no certificate", "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----"])
def test_a_process_does_not_start_with_certificates_that_haproxy_could_not_read(content: str, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text(content)
    with pytest.raises(CaryatidError):
        log_settings(Settings(log_tls_ca=file))


def test_a_private_key_beside_the_certificates_goes_nowhere(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text(f"-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n{AUTHORITY.read_text()}")
    assert log_settings(Settings(log_tls_ca=file)).tls_ca == AUTHORITY.read_text()


def test_a_process_does_not_start_with_a_format_that_haproxy_would_refuse() -> None:
    with pytest.raises(CaryatidError):
        log_settings(Settings(tenant_log_format="%zz"))
