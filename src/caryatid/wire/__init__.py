# SPDX-License-Identifier: Apache-2.0
"""What crosses between our own processes: bodies, clients and versions."""
