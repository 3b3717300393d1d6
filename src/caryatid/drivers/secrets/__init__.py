# SPDX-License-Identifier: Apache-2.0
"""Who keeps certificates and keys."""
