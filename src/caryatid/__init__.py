# SPDX-License-Identifier: Apache-2.0
"""Load balancing as a service, regional and global, that stands on its own."""

__version__ = "0.1.0"
