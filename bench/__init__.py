# SPDX-License-Identifier: Apache-2.0
"""What it costs, measured: `python -m bench`; and what survives, tried: `python -m bench.soak`."""
