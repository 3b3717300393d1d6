# SPDX-License-Identifier: Apache-2.0
"""Who this checker is: key, certificate and authority, from enrolment on; in 0600 files. Which region it is in, the
conductor wrote into the certificate."""

import asyncio
import random
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import structlog
from cryptography import x509
from pydantic import BaseModel, ConfigDict

from caryatid.errors import CaryatidError
from caryatid.places import write_atomically
from caryatid.wire.checkers import ChecksClient, Newcomer, Standing, Told, Welcome
from caryatid.wire.conductor import ConductorError, ConductorRefused, EnrolmentToken, fingerprints
from caryatid.wire.enrolment import fetch_authority, new_key, request, token_in
from caryatid.wire.tls import client_context, renewal_due

BACK_OFF_S = (0.2, 0.5, 1.0, 2.0, 5.0)
REFRESH_BACK_OFF_S = (1.0, 2.0, 5.0, 10.0, 30.0)
REFRESH_EVERY_S = 600.0
TOKEN_HINT = "`caryatid gslb-region token NAME` on a controller makes a token; give its file (--token-file)."  # noqa: S105

log = structlog.get_logger()


class NotEnrolled(CaryatidError):
    """The checker has no identity, and nothing to get one with; or one of another region."""


@dataclass(frozen=True)
class Place:
    """Where a checker keeps who it is, and what it was told about that."""

    directory: Path
    region: str = ""
    """Name or id; empty: whatever the token says."""
    urls: Sequence[str] = ()
    """Of conductors; empty: as the token says."""
    token_file: Path | None = None

    @property
    def enrolment(self) -> Path:
        return self.directory / "enrolment.json"

    @property
    def credentials(self) -> Path:
        """Certificate and key in one file, so that they are replaced together."""
        return self.directory / "checker.pem"


class Enrolment(BaseModel):
    """What is kept of an enrolment, beside key and certificate."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    checker_id: str
    region_id: str
    region: str
    ca_pem: str
    urls: list[str]


class Identity:
    """What a conductor knows this checker by. `client` is for now: another one after each renewal."""

    def __init__(self, place: Place, enrolment: Enrolment, credentials: bytes) -> None:
        self._place = place
        self._credentials = credentials
        self._former: list[ChecksClient] = []
        self.enrolment = enrolment
        self._client = self._new_client(credentials)

    def client(self) -> ChecksClient:
        return self._client

    async def close(self) -> None:
        for client in (*self._former, self._client):
            await client.close()

    async def keep(self) -> None:
        """Tell the conductor who we are, now and then; learn whom to trust; renew in time. Until cancelled."""
        failures = 0
        while True:
            try:
                await self._refresh(datetime.now(UTC))
                failures, pause = 0, REFRESH_EVERY_S
            except ConductorError as error:
                pause = REFRESH_BACK_OFF_S[min(failures, len(REFRESH_BACK_OFF_S) - 1)]
                failures += 1
                log.warning("checker not refreshed", reason=str(error))
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - spreads load

    async def _refresh(self, now: datetime) -> None:
        for client in self._former:
            await client.close()
        self._former.clear()
        told = await self._stand(self._client)
        if told.renew or renewal_due(self._credentials, now):
            await self._renew()

    async def _stand(self, client: ChecksClient) -> Told:
        """The conductor knows whom we trust, and we trust whom it says."""
        told = await client.stand(self._standing())
        if not told.ca_pem or told.ca_pem.strip() == self.enrolment.ca_pem.strip():
            return told
        self._trust(told.ca_pem)
        return await self._client.stand(self._standing())  # a rotation waits for our word that we trust these

    async def _renew(self) -> None:
        """We have a certificate for a new key, which has been shown to work. If it does not, the old one stays."""
        key = new_key()
        new = await self._client.renew(request(key))
        self._trust(new.ca_pem)
        credentials = (new.certificate_pem + key).encode()
        client = self._new_client(credentials)
        try:
            await client.stand(self._standing())
        except ConductorError:
            await client.close()
            raise
        write_atomically(self._place.credentials, credentials, durable=True)
        self._credentials = credentials
        self._former.append(self._client)
        self._client = client
        log.info("certificate renewed", checker=self.enrolment.checker_id)

    def _trust(self, ca_pem: str) -> None:
        """These authorities count from now on, and no others."""
        if ca_pem.strip() == self.enrolment.ca_pem.strip():
            return
        fingerprints(ca_pem)  # raises before anything of it is kept
        self.enrolment = self.enrolment.model_copy(update={"ca_pem": ca_pem})
        write_atomically(self._place.enrolment, self.enrolment.model_dump_json().encode(), durable=True)
        self._former.append(self._client)
        self._client = self._new_client(self._credentials)
        log.info("authorities changed", trusted=len(fingerprints(ca_pem)))

    def _new_client(self, credentials: bytes) -> ChecksClient:
        return ChecksClient(self.enrolment.urls, client_context(self.enrolment.ca_pem, credentials))

    def _standing(self) -> Standing:
        return Standing(name=_name(), release=version("caryatid"), trusts=fingerprints(self.enrolment.ca_pem))


def load(place: Place, now: datetime) -> Identity | None:
    """The identity that is kept; None: there is none that can be used. Raises NotEnrolled: it is of another region."""
    try:
        enrolment = Enrolment.model_validate_json(place.enrolment.read_bytes())
        credentials = place.credentials.read_bytes()
        ended = x509.load_pem_x509_certificate(credentials).not_valid_after_utc <= now
    except (OSError, ValueError):
        return None
    if ended:
        log.warning("the checker's certificate has ended; it needs a new token", region=enrolment.region)
        return None
    if place.urls:
        enrolment = enrolment.model_copy(update={"urls": list(place.urls)})
    _check_region(place, enrolment.region_id, enrolment.region)
    return Identity(place, enrolment, credentials)


async def obtain(place: Place) -> Identity:
    """The identity that is kept, or one for the token; tries again while no conductor can be reached.

    Raises NotEnrolled, and ConductorRefused.
    """
    known = load(place, datetime.now(UTC))
    if known is not None:
        return known
    token = await asyncio.to_thread(_token, place)
    place.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    key, urls, failures = new_key(), list(place.urls) or [token.url], 0
    while True:
        try:
            welcome = await _enrol(urls[failures % len(urls)], token, key)
        except ConductorRefused:
            raise
        except ConductorError as error:
            log.warning("not enrolled yet", reason=str(error))
            await asyncio.sleep(BACK_OFF_S[min(failures, len(BACK_OFF_S) - 1)])
            failures += 1
            continue
        break
    enrolment = Enrolment(urls=urls, **welcome.model_dump(exclude={"certificate_pem"}))
    credentials = (welcome.certificate_pem + key).encode()
    write_atomically(place.credentials, credentials, durable=True)
    write_atomically(place.enrolment, enrolment.model_dump_json().encode(), durable=True)
    log.info("enrolled", checker=enrolment.checker_id, region=enrolment.region)
    _check_region(place, enrolment.region_id, enrolment.region)
    return Identity(place, enrolment, credentials)


async def _enrol(url: str, token: EnrolmentToken, key: str) -> Welcome:
    """The token's secret is sent only to a conductor of the pinned authority. Raises ConductorError."""
    client = ChecksClient([url], client_context(await fetch_authority(url, token.authority)))
    try:
        welcome = await client.enrol(
            Newcomer(token_id=token.id, secret=token.secret, csr_pem=request(key), name=_name())
        )
    finally:
        await client.close()
    if token.authority not in fingerprints(welcome.ca_pem):
        raise ConductorRefused("The conductor answered with another authority than its own.")
    return welcome


def _token(place: Place) -> EnrolmentToken:
    if place.token_file is None:
        raise NotEnrolled(f"This checker is not enrolled. {TOKEN_HINT}")
    try:
        return token_in(place.token_file)
    except OSError as error:
        raise NotEnrolled(
            f"This checker is not enrolled, and {place.token_file} cannot be read: {error.strerror}. {TOKEN_HINT}"
        ) from error


def _check_region(place: Place, region_id: str, region: str) -> None:
    if place.region and place.region not in {region_id, region}:
        raise NotEnrolled(
            f"This checker belongs to region {region} ({region_id}), not to {place.region}: remove {place.directory} "
            "and enrol it with a token of that region."
        )


def _name() -> str:
    return socket.gethostname()[:255]
