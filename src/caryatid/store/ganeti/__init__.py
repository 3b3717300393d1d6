# SPDX-License-Identifier: Apache-2.0
"""What is kept of Ganeti clusters: machines, jobs, what was seen."""
