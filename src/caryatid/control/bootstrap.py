# SPDX-License-Identifier: Apache-2.0
"""The first administrator of an installation that knows its users itself: made once, and again when an operator who is
at the database says so. What lets it in is in files of the state directory that only their owner can read."""

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Final
from uuid import uuid4

import yaml

from caryatid.config import Settings
from caryatid.model.access import ADMIN, PROJECT, ROLE, TOKEN, USER
from caryatid.model.event import system
from caryatid.model.kind import Kind
from caryatid.places import ADMIN_TOKEN, CLOUDS
from caryatid.store import access, events, hosts, rows, wake
from caryatid.store.database import Database, Tx

from .access import CHANNEL, in_days, issue
from .receipt import DEFAULT_PROJECT, moment

LOCAL: Final = "local"
DONE: Final = "access"
"""Setting of an installation whose first administrator has been made."""
NAME: Final = "bootstrap"
"""What the first administrator's token is called."""
CLOUD: Final = "caryatid"


def ensure(database: Database, settings: Settings) -> None:
    """There has been a first administrator. Who was deleted since is not brought back."""
    if settings.identity_driver != LOCAL:
        return
    with database.transaction() as tx:
        access.lock(tx)
        if hosts.setting(tx, DONE) is None:
            _make(tx, settings)
            hosts.keep_setting(tx, DONE, b"1")


def reset(database: Database, settings: Settings) -> Path:
    """The user `admin` is an administrator again, with a new token; its earlier one of this kind is worth nothing. The
    file with it."""
    with database.transaction() as tx:
        access.lock(tx)
        _make(tx, settings)
        hosts.keep_setting(tx, DONE, b"1")
        wake.notify(tx, CHANNEL)
    return settings.state_dir / ADMIN_TOKEN


def _make(tx: Tx, settings: Settings) -> None:
    """Files first: a token in a file that is not in the database lets nobody in."""
    for name in sorted({ADMIN, DEFAULT_PROJECT, *access.owners(tx)}):
        if access.named(tx, PROJECT.name, name) is None and rows.get(tx, PROJECT, name) is None:
            _insert(tx, PROJECT, {"name": name}, name)
    project_id = access.named(tx, PROJECT.name, ADMIN) or ADMIN
    user_id = access.named(tx, USER.name, ADMIN) or _insert(
        tx, USER, {"name": ADMIN, "default_project_id": project_id}, str(uuid4())
    )
    access.enable(tx, user_id, project_id)
    if ADMIN not in access.roles_in(tx, user_id, project_id):
        _insert(tx, ROLE, {"user_id": user_id, "project_id": project_id, "role": ADMIN}, str(uuid4()))
    for old in rows.find(tx, TOKEN, user_id=user_id):
        if old["name"] == NAME:
            rows.delete(tx, TOKEN, [old["id"]])
    token = issue(tx, {"name": NAME, "project_id": project_id}, user_id, expires_at=in_days(settings.token_days_max))
    _told(tx, "create", TOKEN, token.id)
    _write(settings, token.secret or "")


def _insert(tx: Tx, kind: Kind, body: dict[str, Any], key: str) -> str:
    at = moment()
    rows.insert(tx, kind, [kind.new(body, {"id": key, "created_at": at, "updated_at": at})])
    _told(tx, "create", kind, key)
    return key


def _told(tx: Tx, action: str, kind: Kind, key: str) -> None:
    events.append(tx, action, kind.name, key, by=system("bootstrap"), project_id=None, root_id=None)


def _write(settings: Settings, token: str) -> None:
    settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    _replace(settings.state_dir / ADMIN_TOKEN, f"{token}\n")
    _replace(settings.state_dir / CLOUDS, "".join(clouds(settings, token)))


def clouds(settings: Settings, token: str) -> Iterator[str]:
    """The lines of a clouds.yaml with which OpenStack's clients ask as the token's user."""
    scheme = "https" if settings.listen_tls_certificate else "http"
    endpoint = settings.api_base_uri or f"{scheme}://{settings.listen}"
    cloud = {"auth_type": "v3token", "auth": {"auth_url": f"{endpoint}/identity/v3", "token": token}}
    file = settings.state_dir / CLOUDS
    yield f"# For OpenStack's clients: OS_CLIENT_CONFIG_FILE={file} openstack --os-cloud {CLOUD} loadbalancer list\n"
    yield yaml.safe_dump({"clouds": {CLOUD: cloud}}, sort_keys=False)


def _replace(path: Path, text: str) -> None:
    """The file is whole, or what it was; nobody but its owner can read it."""
    with NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:  # mode 0600
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    Path(file.name).replace(path)
