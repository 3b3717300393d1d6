# SPDX-License-Identifier: Apache-2.0
"""What the guides tell to type works as it stands there: in one installation, and one for those without traffic."""

import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.installation import Installation
from bench.waiting import free_port
from caryatid.places import ADMIN_TOKEN
from tests.loaded import Loaded
from tests.shell import Shell, as_printed, steps

GUIDES = Path(__file__).parents[2] / "docs" / "guides"
SERVED = (
    "tls rotate-certificate",
    "blue-green",
    "health-checks",
    "sticky-sessions",
    "rate-limits",
    "jobs-and-webhooks ../versioning",
    "hosts",
    "global-load-balancing",
)
"""Pages that one after the other are typed into one shell."""
UNSERVED = ("udp", "pair")
"""They need networks that not every machine has; what carries datagrams and pairs is tested in tests/system/site."""
STANDALONE = "backup-restore upgrade"
ELSEWHERE = "ganeti amphora-image"
"""They need a Ganeti: typed in tests/ganeti."""
URL = "http://127.0.0.1:9876"
NAME_SERVER = "-p 5300"
pytestmark = pytest.mark.timeout(240)
"""Installations start within; ten seconds where nothing else runs."""


def home_of(made: Installation) -> Path:
    """A home in which the state of the installation is where it is by default."""
    home = Path(tempfile.mkdtemp(prefix="cb", dir="/tmp"))
    (home / ".local" / "state").mkdir(parents=True)
    (home / ".local" / "state" / "caryatid").symlink_to(made.directory)
    return home


def typed(made: Installation, loaded: Loaded, pages: str) -> None:
    home = home_of(made)
    shell = Shell({**made.environment, "CARYATID_URL": made.url, "CARYATID_LOG_FORMAT": "text"}, home, loaded.bin)
    try:
        for page in pages.split():
            for command, expected in steps(GUIDES / f"{page}.md"):
                port = made.environment["CARYATID_DNS_LISTEN"].rpartition(":")[2]
                status, lines = shell.run(command.replace(URL, made.url).replace(NAME_SERVER, f"-p {port}"))
                assert status == 0, (page, command, lines)
                assert as_printed(expected, lines), (page, command, lines)
    finally:
        shell.run("caryatid lb list --columns id -o value | xargs -r -n 1 caryatid lb delete --cascade")
        shell.close()
        shutil.rmtree(home, ignore_errors=True)


def installation(*, noop: bool = False, names: bool = False) -> Installation:
    """`names`: it has a name server, and checkers of other regions may speak to this machine."""
    environment = {"CARYATID_IDENTITY_DRIVER": "local"}
    if names:
        environment["CARYATID_DNS_LISTEN"] = f"127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
        environment["CARYATID_GSLB_ALLOWED_TARGETS"] = "127.0.0.0/8"
    made = Installation(noop=noop, environment=environment)
    made.environment["CARYATID_GSLB_FOLLOW_TOKEN_FILE"] = str(made.directory / ADMIN_TOKEN)
    return made


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    made = Loaded(tmp_path_factory.mktemp("loaded"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def served() -> Iterator[Installation]:
    with installation(names=True) as made:
        yield made


@pytest.fixture(scope="module")
def unserved() -> Iterator[Installation]:
    with installation(noop=True) as made:
        yield made


@pytest.mark.parametrize("pages", SERVED)
def test_a_guide_works_as_it_stands(served: Installation, loaded: Loaded, pages: str) -> None:
    typed(served, loaded, pages)


@pytest.mark.parametrize("pages", UNSERVED)
def test_a_guide_for_real_networks_is_accepted_as_it_stands(unserved: Installation, loaded: Loaded, pages: str) -> None:
    typed(unserved, loaded, pages)


def test_a_backup_is_restored_and_an_upgrade_is_made_as_they_say(loaded: Loaded) -> None:
    made = installation()
    try:
        typed(made, loaded, STANDALONE)
        made.command("down")
    finally:
        made.close()


def test_every_guide_is_typed() -> None:
    named = {page for pages in (*SERVED, *UNSERVED, STANDALONE, ELSEWHERE) for page in pages.split()}
    assert {path.stem for path in GUIDES.glob("*.md")} - {"index"} == {page for page in named if "/" not in page}
