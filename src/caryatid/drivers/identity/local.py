# SPDX-License-Identifier: Apache-2.0
"""Who asks, by what this installation knows itself: tokens, and users with passwords."""

import math
import time
from typing import Final, Self

from caryatid.drivers.setup import Account, Accounts, Setup
from caryatid.errors import CaryatidError, Forbidden, TooMany, Unauthorized
from caryatid.model.access import ADMIN, PREFIX, digest
from caryatid.model.policy import Caller, Identified, Shown

from .lockout import Lockout
from .passwords import Passwords

CHALLENGE: Final = 'Basic realm="caryatid", charset="UTF-8", Bearer realm="caryatid"'
BELIEVED_S: Final = 60.0
"""What was right is looked at again after so long. A change is told at once, on the channel "access"; this is for one
that was not heard."""


class LocalDriver:
    """Threads may share it."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self._passwords = Passwords()
        self._lockout = Lockout()

    @classmethod
    def connect(cls, setup: Setup) -> Self:
        if setup.accounts is None:
            raise CaryatidError("This process has no database to read users from.")
        return cls(setup.accounts)

    def identify(self, shown: Shown) -> Identified:
        """By a token, wherever it stands; a password may be one, too. Else by user name and password."""
        token = shown.token or (shown.password if shown.password.startswith(PREFIX) else "")
        if token:
            return self._by_token(token, shown.project_id)
        if not shown.user:
            raise Unauthorized("A token (X-Auth-Token), or a user name and a password, are wanted.", CHALLENGE)
        return self._by_password(shown)

    def _by_token(self, token: str, project: str) -> Identified:
        holder = self._accounts.holder(digest(token), time.time()) if token.startswith(PREFIX) else None
        if holder is None:
            raise Unauthorized("This token is not known, or not any more.", CHALLENGE)
        project_id = holder.project_id
        if project and project != project_id:
            project_id = self._named(project, project_id, holder.roles)
        caller = Caller(holder.user_id, project_id, holder.roles, token_id=holder.token_id)
        return Identified(caller, min(time.time() + BELIEVED_S, holder.until))

    def _named(self, project: str, own: str, roles: frozenset[str]) -> str:
        """The project of that name or id: the token's own, or any, for administrators."""
        found = self._accounts.project(project)
        if found is None or (found != own and ADMIN not in roles):
            raise Forbidden("The token is for another project than X-Project-Id says.")
        return found

    def _by_password(self, shown: Shown) -> Identified:
        now = time.monotonic()
        wait_s = self._lockout.wait_s(shown.user, shown.address, now)
        if wait_s:
            raise TooMany("There were too many wrong passwords.", math.ceil(wait_s))
        account = self._accounts.account(shown.user)
        if not self._passwords.right(account.hash if account else None, shown.password) or account is None:
            self._lockout.failed(shown.user, shown.address, time.monotonic())
            raise Unauthorized("The user name or the password is not right.", CHALLENGE)
        self._lockout.passed(shown.user)
        project_id, roles = self._chosen(account, shown.project_id)
        return Identified(Caller(account.user_id, project_id, roles), time.time() + BELIEVED_S)

    def _chosen(self, account: Account, said: str) -> tuple[str | None, frozenset[str]]:
        """The project that the request says, by id or name; else the user's own choice; else the only one."""
        known = account.projects
        named = {one.id for one in known if one.id == said} or {one.id for one in known if one.name == said}
        if not said:
            named = {one.id for one in known if one.id == account.default_project_id} or {one.id for one in known}
        if len(named) == 1:
            key = named.pop()
            return key, next(one.roles for one in known if one.id == key)
        if said and any(ADMIN in one.roles for one in known) and (found := self._accounts.project(said)):
            return found, frozenset({ADMIN})
        if said:
            raise Forbidden("The user has no role in the project that X-Project-Id names.")
        if named:
            raise Forbidden("The user has roles in several projects: X-Project-Id says for which it asks.")
        return None, frozenset()
