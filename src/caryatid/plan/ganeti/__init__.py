# SPDX-License-Identifier: Apache-2.0
"""What should be in a Ganeti cluster, given what was seen there. Pure."""
