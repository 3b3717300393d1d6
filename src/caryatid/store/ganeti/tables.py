# SPDX-License-Identifier: Apache-2.0
"""The tables of what is seen and done in Ganeti clusters, beside those of their kind."""

from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Integer, LargeBinary, String, Table, Text

from caryatid.store.tables import ID_LENGTH, METADATA, WORD_LENGTH, Document

NAME_LENGTH = 255

MACHINE = Table(
    "machine",
    METADATA,
    Column("amphora_id", String(ID_LENGTH), primary_key=True),
    Column("loadbalancer_id", String(ID_LENGTH)),
    Column("cluster_id", String(ID_LENGTH), nullable=False),
    Column("name", String(NAME_LENGTH), nullable=False),  # of the instance
    Column("wish", Document, nullable=False),  # model.cluster.MachineWish
    Column("phase", String(16), nullable=False),
    Column("host_id", String(ID_LENGTH)),  # as which its agent has enrolled
    Column("job_id", BigInteger),  # that makes or removes it now
    Column("asked_at", Float(53)),  # when that was asked for, whether or not the answer came
    Column("node", String(NAME_LENGTH)),
    Column("address", String(WORD_LENGTH)),
    Column("status", String(WORD_LENGTH)),  # Ganeti's word
    Column("seen_at", Float(53)),  # when that was so
    Column("source", String(WORD_LENGTH)),  # config, live or job
    Column("changed_at", Float(53), nullable=False),  # since when it is in its phase
    Column("reason", Text),
    Column("remedy", Text),
    Column("hopeless", Boolean, nullable=False),  # that does not pass by itself
    Column("tries", Integer, nullable=False),
    Column("next_at", Float(53), nullable=False),  # nothing is tried before
    Column("deadline_at", Float(53)),  # of BOOTING
    Index("ix_machine_cluster_id", "cluster_id"),
    Index("ix_machine_loadbalancer_id", "loadbalancer_id"),
    Index("ix_machine_host_id", "host_id"),
)
"""The machine of each amphora that has one of its own; outlives its amphora until it is known to be gone."""
CLUSTER_JOB = Table(
    "cluster_job",
    METADATA,
    Column("cluster_id", String(ID_LENGTH), primary_key=True),
    Column("job_id", BigInteger, primary_key=True, autoincrement=False),
    Column("act", String(16), nullable=False),  # create or delete
    Column("amphora_id", String(ID_LENGTH), nullable=False),
    Column("loadbalancer_id", String(ID_LENGTH)),
    Column("name", String(NAME_LENGTH), nullable=False),
    Column("status", String(16), nullable=False),
    Column("asked_at", Float(53), nullable=False),
    Column("started_at", Float(53)),
    Column("ended_at", Float(53)),
    Column("log", Document, nullable=False),  # [[seconds, text], …]
    Column("error", Text),
    Column("serial", BigInteger, nullable=False),  # of the last line of the log
    Index("ix_cluster_job_amphora_id", "amphora_id"),
    Index("ix_cluster_job_asked_at", "asked_at"),
)
"""Jobs of ours, copied before Ganeti archives them."""
CLUSTER_SEEN = Table(
    "cluster_seen",
    METADATA,
    Column("cluster_id", String(ID_LENGTH), primary_key=True),
    Column("status", String(16), nullable=False),  # model.status.OperatingStatus
    Column("reason", Text),
    Column("since", Float(53), nullable=False),
    Column("answered_at", Float(53)),
    Column("config_at", Float(53)),
    Column("live_at", Float(53)),
    Column("seen", Document, nullable=False),  # info, nodes, orphans: what /status shows
)
"""How each cluster was when it was last asked."""
CLUSTER_CREDENTIAL = Table(
    "cluster_credential",
    METADATA,
    Column("cluster_id", String(ID_LENGTH), primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
)
"""The password of each cluster's RAPI user: encrypted."""
