# SPDX-License-Identifier: Apache-2.0
"""Ganeti's remote API: what we ask a cluster's master, and what it really answers (docs/ganeti-rapi.md)."""
