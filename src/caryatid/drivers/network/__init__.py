# SPDX-License-Identifier: Apache-2.0
"""Who brings VIPs to amphorae."""
