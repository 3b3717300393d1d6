# SPDX-License-Identifier: Apache-2.0
"""Distances between places on Earth, and how a bias stretches them.

What DNS servers do for `Choice.way` "nearest" and for `Clients.near` is this, in their own words: the great-circle
distance (haversine, a sphere of `EARTH_KM`), `biased`, the least of them.
"""

from collections.abc import Sequence
from math import asin, cos, radians, sin, sqrt
from typing import Protocol

EARTH_KM = 6371.0
NEAR_KM = 0.001
"""What is no farther than this from the nearest is as near."""
Place = tuple[float, float]
"""Latitude and longitude, in degrees."""


class _Placed(Protocol):
    @property
    def latitude(self) -> float | None: ...
    @property
    def longitude(self) -> float | None: ...


def place_of(thing: _Placed | None) -> Place | None:
    """Of a pool or a region, if it has one."""
    if thing is None or thing.latitude is None or thing.longitude is None:
        return None
    return thing.latitude, thing.longitude


def distance_km(one: Place, other: Place) -> float:
    (north, east), (to_north, to_east) = one, other
    up, along = radians(to_north - north), radians(to_east - east)
    half = sin(up / 2) ** 2 + cos(radians(north)) * cos(radians(to_north)) * sin(along / 2) ** 2
    return 2 * EARTH_KM * asin(min(1.0, sqrt(half)))


def biased(distance: float, bias: int) -> float:
    """`bias` from -99 to 99: 50 halves the distance, -50 doubles it."""
    return distance * (1 - bias / 100) if bias >= 0 else distance / (1 + bias / 100)


def nearest(place: Place, others: Sequence[tuple[Place, int]]) -> list[int]:
    """Which of (place, bias) are nearest: several only if they are equally near."""
    distances = [biased(distance_km(place, other), bias) for other, bias in others]
    least = min(distances, default=0.0)
    return [number for number, distance in enumerate(distances) if distance <= least + NEAR_KM]
