# SPDX-License-Identifier: Apache-2.0
"""Where it is kept: SQLite or PostgreSQL. Knows no rules; the only place that speaks SQL."""
