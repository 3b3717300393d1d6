# SPDX-License-Identifier: Apache-2.0
"""The command line: a client of the HTTP API, generated from the kinds."""
