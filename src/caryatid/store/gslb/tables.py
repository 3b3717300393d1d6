# SPDX-License-Identifier: Apache-2.0
"""The tables of global load balancing, beside those of its kinds."""

from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Integer, LargeBinary, String, Table, Text

from caryatid.store.tables import ID_LENGTH, METADATA, TIME_LENGTH, WORD_LENGTH, Document, Generation

GSLB_USE = Table(
    "gslb_use",
    METADATA,
    Column("gslb_id", String(ID_LENGTH), primary_key=True),
    Column("kind", String(WORD_LENGTH), primary_key=True),
    Column("id", String(ID_LENGTH), primary_key=True),
    Column("generation", Generation, nullable=False),
    Index("ix_gslb_use_part", "kind", "id"),
)
"""Which gslbs use a part, and in which generation of theirs it changed last."""
GSLB_STATE = Table(
    "gslb_state",
    METADATA,
    Column("gslb_id", String(ID_LENGTH), primary_key=True),
    Column("memory", Document, nullable=False),  # plan.gslb.Memory
    Column("published", Document, nullable=False),  # record type → what name servers have been told
    Column("generation", Generation, nullable=False),  # of that
    Column("published_at", String(TIME_LENGTH)),
    Column("why", Document, nullable=False),  # sentences
)
"""What the engine remembers of a gslb."""
GSLB_STATUS = Table(
    "gslb_status",
    METADATA,
    Column("kind", String(WORD_LENGTH), primary_key=True),
    Column("id", String(ID_LENGTH), primary_key=True),
    Column("operating_status", String(16), nullable=False),
    Column("reason", Text),
    Column("since", Float(53), nullable=False),
)
"""How gslbs, pools and members were when they were last decided about."""
GSLB_CHECKER = Table(
    "gslb_checker",
    METADATA,
    Column("id", String(ID_LENGTH), primary_key=True),
    Column("region_id", String(ID_LENGTH), nullable=False),
    Column("seen_at", String(TIME_LENGTH), nullable=False),
    Column("quarantined", Boolean, nullable=False),
    Column("enrolled_id", String(ID_LENGTH)),  # whose certificate the process shows
    Index("ix_gslb_checker_region", "region_id"),
)
"""Processes that check, as long as they are heard of."""
GSLB_SHARE = Table(
    "gslb_share",
    METADATA,
    Column("region_id", String(ID_LENGTH), primary_key=True),
    Column("share", Integer, primary_key=True, autoincrement=False),
    Column("checker", String(ID_LENGTH), nullable=False),
    Column("until", Float(53), nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("seen_at", Float(53), nullable=False),  # until then all that it said of its checks was so
)
"""Which checker of a region has which part of its checks."""
GSLB_VOTE = Table(
    "gslb_vote",
    METADATA,
    Column("member_id", String(ID_LENGTH), primary_key=True),
    Column("monitor_id", String(ID_LENGTH), primary_key=True),
    Column("region_id", String(ID_LENGTH), primary_key=True),
    Column("word", String(16), nullable=False),
    Column("at", Float(53), nullable=False),  # when it was said
    Column("since", Float(53), nullable=False),  # when it became so
    Column("share", Integer, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("checker", String(ID_LENGTH), nullable=False),
    Column("reason", Text),
    Column("rtt_ms", Float(53)),
    Column("until", Float(53)),  # of what users tell: for so long it counts; null: it is confirmed by its share
    Index("ix_gslb_vote_share", "region_id", "share"),
    Index("ix_gslb_vote_until", "until"),
)
"""What regions say of checks."""
GSLB_CREDENTIAL = Table(
    "gslb_credential",
    METADATA,
    Column("backend_id", String(ID_LENGTH), primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
)
"""What is shown to the DNS servers of a backend, under the master key."""
GSLB_ENROLLED = Table(
    "gslb_enrolled",
    METADATA,
    Column("id", String(ID_LENGTH), primary_key=True),
    Column("region_id", String(ID_LENGTH), nullable=False),
    Column("name", String(255), nullable=False),
    Column("release", String(64), nullable=False),
    Column("issuer", String(64)),
    Column("trusts", Document, nullable=False),
    Column("ends_at", Float(53), nullable=False),
    Column("revoked", Boolean, nullable=False),
    Column("seen_at", String(TIME_LENGTH)),  # when it last asked for something, to within a few seconds
)
"""Checkers that have a certificate of ours."""
GSLB_BUNDLE = Table(
    "gslb_bundle",
    METADATA,
    Column("monitor_id", String(ID_LENGTH), primary_key=True),
    Column("purpose", String(16), primary_key=True),
    Column("project_id", String(ID_LENGTH), nullable=False),
    Column("reference", String(255), nullable=False),
    Column("digest", String(64), nullable=False),  # SHA-256 of what is sealed
    Column("subject", Text, nullable=False),
    Column("not_before", String(TIME_LENGTH), nullable=False),
    Column("not_after", String(TIME_LENGTH), nullable=False),
    Column("problem", Text),
    Column("announced", Integer),  # how many days before its end an event said so last
    Column("checked_at", String(TIME_LENGTH), nullable=False),  # when it was last read; empty: at once
    Column("changed_at", Float(53), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Index("ix_gslb_bundle_checked_at", "checked_at"),
)
"""What references of monitors stand for, under the master key."""
GSLB_TRIAL = Table(
    "gslb_trial",
    METADATA,
    Column("id", String(ID_LENGTH), primary_key=True),
    Column("region_id", String(ID_LENGTH), nullable=False),
    Column("wanted", Document, nullable=False),  # wire.checks.Check
    Column("checker", String(ID_LENGTH)),  # who makes it
    Column("until", Float(53), nullable=False),  # then nobody waits for it any more
    Column("tried", Document),  # what came of it
    Index("ix_gslb_trial_region", "region_id"),
)
"""Dry runs that are asked for, one a region."""
GSLB_REMOTE = Table(
    "gslb_remote",
    METADATA,
    Column("region_id", String(ID_LENGTH), primary_key=True),
    Column("loadbalancer_id", String(ID_LENGTH), primary_key=True),
    Column("addresses", Document, nullable=False),
    Column("operating_status", String(16), nullable=False),
    Column("since", Float(53), nullable=False),
    Column("seen_at", Float(53), nullable=False),
    Column("good_s", Float(53), nullable=False),  # for so long after that it counts
)
"""Load balancers of other regions, as they are reported."""
GSLB_FOLLOWED = Table(
    "gslb_followed",
    METADATA,
    Column("member_id", String(ID_LENGTH), primary_key=True),
    Column("addresses", Document, nullable=False),
    Column("word", String(16)),  # UP, DOWN, UNKNOWN; null: whoever has it says nothing about how it is
    Column("reason", Text),  # of that
    Column("problem", Text),  # why it could not be asked for last; null: it could
    Column("since", Float(53), nullable=False),  # when the word became so
    Column("moved_at", Float(53), nullable=False),  # when it came to these addresses
    Column("asked_at", Float(53), nullable=False),
    Column("seen_at", Float(53), nullable=False),  # when all this was last known to be so
    Column("good_s", Float(53), nullable=False),  # for so long after that it counts
)
"""Members of which others know where and how they are, as these say."""
