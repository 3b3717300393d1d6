# SPDX-License-Identifier: Apache-2.0
"""Runs the migrations on the connection that `store.migrate` gives; there is no alembic.ini."""

from alembic import context

from caryatid.store.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
