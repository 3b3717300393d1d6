# SPDX-License-Identifier: Apache-2.0
"""One file a check (entry points `caryatid.checks`). What they want to know: `model/gslb/parameters.py`."""
