# SPDX-License-Identifier: Apache-2.0
"""The v2 load balancing API, as its clients know it."""
