# SPDX-License-Identifier: Apache-2.0
"""Global load balancing: wishes, decisions and what becomes of them."""
