# SPDX-License-Identifier: Apache-2.0
"""A Barbican of its own: `run_barbican.py FOLDER PORT [KEYSTONE]`, run by the Python of `program("barbican")`.

Without the URL of a Keystone it believes whoever asks: the headers X-Project-Id, X-User-Id, X-Roles say who that is.
"""

import base64
import os
import sys
from pathlib import Path

from serving import serve

SETTINGS = """
[DEFAULT]
use_stderr = true
host_href = http://127.0.0.1:{port}
db_auto_create = true
transport_url = fake://
default_log_levels = barbican=ERROR,alembic=WARNING
[database]
connection = sqlite:///{folder}/barbican.db
[simple_crypto_plugin]
kek = {kek}
[keystone_authtoken]
www_authenticate_uri = {keystone}
auth_url = {keystone}
auth_type = password
interface = public
username = admin
password = admin
project_name = admin
user_domain_name = Default
project_domain_name = Default
"""
PASTE = """
[composite:main]
use = egg:Paste#urlmap
/: versions
/v1: api
[pipeline:versions]
pipeline = microversion versionapp
[pipeline:api]
pipeline = request_id {context} microversion apiapp
[app:apiapp]
paste.app_factory = barbican.api.app:create_main_app
[app:versionapp]
paste.app_factory = barbican.api.app:create_version_app
[filter:request_id]
paste.filter_factory = oslo_middleware.request_id:RequestId.factory
[filter:unauthenticated]
paste.filter_factory = barbican.api.middleware.context:UnauthenticatedContextMiddleware.factory
[filter:context]
paste.filter_factory = barbican.api.middleware.context:ContextMiddleware.factory
[filter:authtoken]
paste.filter_factory = keystonemiddleware.auth_token:filter_factory
[filter:microversion]
paste.filter_factory = barbican.api.middleware.microversion:MicroversionMiddleware.factory
"""


def configure(folder: Path, port: int, keystone: str) -> None:
    kek = base64.urlsafe_b64encode(os.urandom(32)).decode()
    settings = SETTINGS.format(folder=folder, port=port, kek=kek, keystone=keystone)
    (folder / ".barbican").mkdir()
    (folder / ".barbican" / "barbican.conf").write_text(settings)
    os.environ["HOME"] = str(folder)  # each of its plugins looks for the file by itself
    (folder / "paste.ini").write_text(PASTE.format(context="authtoken context" if keystone else "unauthenticated"))


def application(folder: Path):
    from paste import deploy

    loaded = deploy.loadapp(f"config:{folder}/paste.ini", name="main")

    def named(environ, start_response):
        """Where nobody is asked for a token, Barbican 23 wants a name of the request that nothing gives it."""
        environ.setdefault("webob.adhoc_attrs", {})["request_id"] = "req-1"
        return loaded(environ, start_response)

    return named


if __name__ == "__main__":
    folder, port, keystone = Path(sys.argv[1]), int(sys.argv[2]), "".join(sys.argv[3:])
    sys.argv = sys.argv[:1]  # the configuration's library would read them
    configure(folder, port, keystone)
    serve(application(folder), port)
