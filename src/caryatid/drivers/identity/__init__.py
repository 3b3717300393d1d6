# SPDX-License-Identifier: Apache-2.0
"""Who asks: drivers that know users, their projects and roles."""
