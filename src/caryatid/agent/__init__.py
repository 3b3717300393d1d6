# SPDX-License-Identifier: Apache-2.0
"""What runs on a host: the agent, its amphorae and their HAProxy."""
