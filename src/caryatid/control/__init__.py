# SPDX-License-Identifier: Apache-2.0
"""When, and who: wishes in, work done, what was seen written down."""
