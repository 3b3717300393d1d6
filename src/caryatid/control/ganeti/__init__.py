# SPDX-License-Identifier: Apache-2.0
"""Clusters and the machines there: wished for, watched, brought together."""
