# SPDX-License-Identifier: Apache-2.0
"""What clients of a cloud ask of its other services, where this is all the cloud there is."""
