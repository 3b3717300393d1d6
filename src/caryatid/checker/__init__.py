# SPDX-License-Identifier: Apache-2.0
"""Tries members from a region and says what it finds. It holds no database: what it knows, the conductor told it."""
