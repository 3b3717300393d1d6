# SPDX-License-Identifier: Apache-2.0
"""What every body that crosses has in common."""

from pydantic import BaseModel, ConfigDict, Field

ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
AmphoraId = Field(pattern=ID_PATTERN)


class Body(BaseModel):
    """Something that crosses. What a newer peer adds is ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)
