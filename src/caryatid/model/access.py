# SPDX-License-Identifier: Apache-2.0
"""Who may ask, where no other service says so: projects, users, the roles that users have in projects, and tokens."""

import hashlib
from typing import Annotated, Final, Literal, get_args

from pydantic import Field

from . import field
from .field import Access, Key, Listed, Ref
from .kind import Kind
from .resource import Dated
from .secret import Moment
from .types import Bool, Id, Name, ProjectId, Time

CREATED: Final = Access("create")
GENERATED: Final = Access("generated")
PREFIX: Final = "cyt_"
"""What every token begins with, so that one that has leaked is found."""
ADMIN: Final = "admin"
PASSWORD_MAX: Final = 128
RoleWord = Literal[
    "admin",
    "member",
    "reader",
    "service",
    "load-balancer_admin",
    "load-balancer_member",
    "load-balancer_observer",
    "load-balancer_global_observer",
    "load-balancer_quota_admin",
]
ROLES: Final[tuple[str, ...]] = get_args(RoleWord)
OBSERVER: Final = "load-balancer_observer"
IMPLIED: Final[dict[str, frozenset[str]]] = {
    ADMIN: frozenset(ROLES) - {ADMIN, "service"},
    "member": frozenset({"reader"}),
    "load-balancer_admin": frozenset(role for role in ROLES if role.startswith("load-balancer_")),
    "load-balancer_member": frozenset({OBSERVER}),
    "load-balancer_global_observer": frozenset({OBSERVER}),
}
"""Roles that may do no more than another does: who has that one can give them to a token."""
Label = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]+$")]
UserName = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^:\x00-\x1f\x7f]+$")]
Password = Annotated[str, Field(min_length=8, max_length=PASSWORD_MAX)]


def digest(token: str) -> str:
    """What is kept of a token: it is long and random, so that nobody can try them all."""
    return hashlib.sha256(token.encode()).hexdigest()


def with_implied(roles: frozenset[str]) -> frozenset[str]:
    """The roles, and those that they imply."""
    return roles.union(*(IMPLIED.get(role, ()) for role in roles))


class Project(Dated):
    """What owns resources, and has a quota."""

    id: Annotated[ProjectId, GENERATED, Listed()]
    """Made by the service; those that were there before there was access control are called by their name."""
    name: Annotated[Label, Key(), Listed()]
    """Human-readable, and unique."""
    description: Name = ""
    """Human-readable."""
    enabled: Annotated[Bool, Access(on_null=False), Key(), Listed()] = True
    """False: nobody may ask in its name. What it has goes on serving."""


class User(Dated):
    """Somebody, or some program, that may ask."""

    name: Annotated[UserName, Key(), Listed()]
    """What it logs in as; unique, without a colon."""
    description: Name = ""
    """Human-readable."""
    enabled: Annotated[Bool, Access(on_null=False), Key(), Listed()] = True
    """False: neither its password nor its tokens are taken."""
    default_project_id: Annotated[ProjectId | None, Ref("project"), Listed()] = None
    """In whose name it asks by its password, if it does not say (`X-Project-Id`). Null: the only one where it has a
    role."""
    password: Annotated[Password | None, field.Secret()] = None
    """For HTTP basic authentication; kept as an argon2id hash. Without one the user has only tokens. Users who log in
    by their password may change it themselves."""


class Role(Dated):
    """What a user may do in a project."""

    user_id: Annotated[Id, CREATED, Ref("user"), Listed()]
    """The user."""
    project_id: Annotated[ProjectId, CREATED, Ref("project"), Listed()]
    """The project."""
    role: Annotated[RoleWord, CREATED, Key(64), Listed()]
    """What it may do there; the policy's rules say what that is."""


class Token(Dated):
    """Lets a program ask in the name of a user, for one project. What it is, is shown once, when it is made."""

    name: Annotated[Name, CREATED, Listed()] = ""
    """Human-readable; need not be unique."""
    user_id: Annotated[Id | None, CREATED, Ref("user"), Listed()] = None
    """In whose name. Null: the one who makes it; another's can be made by administrators."""
    project_id: Annotated[ProjectId | None, CREATED, Ref("project"), Listed()] = None
    """For which project. Null: the one in whose name it is made."""
    roles: Annotated[Annotated[list[RoleWord], Field(max_length=len(ROLES))], CREATED, Listed()] = []
    """With which roles of the user's there, or lesser ones (`reader` of a `member`); empty: all that it has. A role
    that the user loses, its tokens lose."""
    expires_at: Annotated[Moment | None, CREATED, Key(26), Listed()] = None
    """When it ends. UTC. Not given: in `token_days` days; `token_days_max` days from now at the latest. Null, given by
    an administrator: never."""
    last_used_at: Annotated[Time | None, GENERATED, Key(26), Listed()] = None
    """When it was last used, to the hour. UTC."""
    session: Annotated[Bool, GENERATED, Key()] = False
    """It was made by a client for itself, out of a password."""
    digest: Annotated[Name, Access("generated", shown=False), Key(64), field.Secret()]
    """SHA-256 of what it is."""
    secret: Annotated[Name | None, Access("generated", unset_shown=False)] = None
    """What it is: `cyt_…`. Only in the answer that makes it."""


PROJECT = Kind(
    name="project",
    model=Project,
    title="Project",
    path="/access/projects",
    plural="projects",
    links="projects_links",
    root=None,
    unique=(("name",),),
)
USER = Kind(
    name="user",
    model=User,
    title="User",
    path="/access/users",
    plural="users",
    links="users_links",
    root=None,
    unique=(("name",),),
)
ROLE = Kind(
    name="role",
    model=Role,
    title="Role",
    path="/access/roles",
    plural="roles",
    links="roles_links",
    root=None,
    unique=(("user_id", "project_id", "role"),),
)
TOKEN = Kind(
    name="token",
    model=Token,
    title="Token",
    path="/access/tokens",
    plural="tokens",
    links="tokens_links",
    root=None,
    unique=(("digest",),),
)
ACCESS: Final = (PROJECT, USER, ROLE, TOKEN)
