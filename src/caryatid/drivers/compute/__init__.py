# SPDX-License-Identifier: Apache-2.0
"""Who provides the machines of amphorae."""
