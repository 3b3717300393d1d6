# SPDX-License-Identifier: Apache-2.0
"""What should be: pure functions of what is wanted and what was seen. No clock, no I/O."""
