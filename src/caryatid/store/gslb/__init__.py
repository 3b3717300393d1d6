# SPDX-License-Identifier: Apache-2.0
"""What global load balancing keeps beside its documents: who uses what, votes, and what the engine remembers."""
