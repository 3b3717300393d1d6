# SPDX-License-Identifier: Apache-2.0
"""A Keystone of its own: `run_keystone.py FOLDER PORT`, run by the Python of `program("keystone")`.

User `admin` of project `admin`, password `admin`. All in one process: most of what Keystone's own commands take is to
start.
"""

import base64
import os
import sys
from pathlib import Path
from types import SimpleNamespace

from serving import serve

SETTINGS = """
[DEFAULT]
use_stderr = true
default_log_levels = keystone=ERROR,alembic=WARNING
[database]
connection = sqlite:///{folder}/keystone.db
[fernet_tokens]
key_repository = {folder}/fernet
[fernet_receipts]
key_repository = {folder}/fernet
[credential]
key_repository = {folder}/credential
[cache]
enabled = true
backend = dogpile.cache.memory
[identity]
password_hash_rounds = 4
"""


def configure(folder: Path) -> None:
    (folder / "keystone.conf").write_text(SETTINGS.format(folder=folder))
    for name in ("fernet", "credential"):
        (folder / name).mkdir(mode=0o700)
        for number in "01":
            (folder / name / number).write_bytes(base64.urlsafe_b64encode(os.urandom(32)))
    os.environ["OS_KEYSTONE_CONFIG_FILES"] = str(folder / "keystone.conf")


def application(url: str):
    from keystone.cmd import bootstrap
    from keystone.common.sql import upgrades
    from keystone.server.wsgi import initialize_public_application

    made = initialize_public_application()
    upgrades.offline_sync_database_to_version()
    bootstrap.backends = SimpleNamespace(load_backends=dict)  # the application has loaded them
    first = bootstrap.Bootstrapper()
    first.admin_username = first.admin_password = first.project_name = first.admin_role_name = "admin"
    first.service_name, first.public_url = "keystone", url
    first.bootstrap()
    return made


if __name__ == "__main__":
    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    sys.argv = sys.argv[:1]  # the configuration's library would read them
    configure(folder)
    serve(application(f"http://127.0.0.1:{port}/v3"), port)
