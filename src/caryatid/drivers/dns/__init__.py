# SPDX-License-Identifier: Apache-2.0
"""Who answers names: drivers that tell DNS servers what to answer."""
