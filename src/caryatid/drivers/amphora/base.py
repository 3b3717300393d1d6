# SPDX-License-Identifier: Apache-2.0
"""The amphora driver interface (seed 003): the base class, its exceptions, and whom a driver tells of health.

    AmphoraDriverError                     nothing more precise is known; tried again
    ├── NotFoundError                      the amphora is gone
    ├── InfoException                      asking it about itself failed
    ├── NetworkConfigException             asking it about its network failed
    ├── UnauthorizedException              it does not let us in
    ├── TimeOutException                   it did not answer in time; tried again
    ├── UnavailableException               it is not reachable now; tried again
    ├── OvertakenError                     somebody with a newer stamp was there before (not in the seed)
    ├── SuspendFailed, EnableFailed, DeleteFailed
    └── ProvisioningErrors                 it answered, and refuses what it was given; ERROR
        ├── ListenerProvisioningError, LoadBalancerProvisioningError
        └── HealthMonitorProvisioningError, NodeProvisioningError

Models are handed over detached: a driver cannot write to the database. Every call into a driver may come twice
and must then do nothing more; it runs in a worker's thread, may block, and must end within its own timeouts.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol, Self

from caryatid.drivers.setup import Setup
from caryatid.model.amphora import Placed, Stamp
from caryatid.model.flavor import Capabilities
from caryatid.model.host import Host
from caryatid.model.listener import Listener
from caryatid.model.loadbalancer import LoadBalancer, Vip
from caryatid.model.tree import ListenerNode, Tree
from caryatid.plan.drift import Found


class AmphoraDriverError(Exception):
    pass


class NotFoundError(AmphoraDriverError):
    pass


class InfoException(AmphoraDriverError):
    pass


class NetworkConfigException(AmphoraDriverError):
    pass


class UnauthorizedException(AmphoraDriverError):
    pass


class TimeOutException(AmphoraDriverError):
    pass


class UnavailableException(AmphoraDriverError):
    pass


class OvertakenError(AmphoraDriverError):
    """The amphora has obeyed a newer stamp. `fence`: of the newest; if whoever asked now is the one who may, after
    all (a database was restored from a backup), it asks again with a higher one."""

    def __init__(self, reason: str, fence: int) -> None:
        super().__init__(reason)
        self.fence = fence


class SuspendFailed(AmphoraDriverError):
    pass


class EnableFailed(AmphoraDriverError):
    pass


class DeleteFailed(AmphoraDriverError):
    pass


class ProvisioningErrors(AmphoraDriverError):
    """The amphora refuses what it was given. `culprits`: id of the resource at fault → why; may be empty."""

    def __init__(self, reason: str, culprits: Mapping[str, str] | None = None) -> None:
        super().__init__(reason)
        self.culprits = dict(culprits or {})


class ListenerProvisioningError(ProvisioningErrors):
    pass


class LoadBalancerProvisioningError(ProvisioningErrors):
    pass


class HealthMonitorProvisioningError(ProvisioningErrors):
    pass


class NodeProvisioningError(ProvisioningErrors):
    pass


SuspendFaied = SuspendFailed  # as the seed spells it
LoadBalancerProvisoningError = LoadBalancerProvisioningError  # as the seed spells it


class HealthMixin(Protocol):
    """Whom a driver tells how amphorae are (seed 003)."""

    def update_health(self, health: Mapping[str, Any]) -> None:
        """`{"amphora-status": …, "amphora-id": …, "loadbalancers": {id: {"loadbalancer-status": …,
        "listeners": {id: {"listener-status": …, "nodes": {member id: status}}}}}}`; statuses are operating status
        words; only what has changed need be there."""


class StatsMixin(Protocol):
    """Whom a driver tells what went through (seed 003)."""

    def update_stats(self, stats: Mapping[str, Any]) -> None:
        """`{load balancer id: {listener id: {"bytes_in": …, "bytes_out": …, "active_connections": …,
        "total_connections": …}}}`; cumulative."""


class AmphoraLoadBalancerDriver:
    """What a driver for another kind of amphora derives from. `update` and `delete` must be written."""

    capabilities: ClassVar[Capabilities]
    """What it can do; what it does not name here is answered 501 before the driver is asked."""

    @classmethod
    def connect(cls, setup: Setup) -> Self:  # noqa: ARG003  for those that need it
        """The driver of a process. One that needs nothing of `setup` need not write this."""
        return cls()

    def update(self, listener: ListenerNode, vip: Vip) -> None:
        """`listener` is served on `vip` as it says, with its pools, members, monitor and policies."""
        raise NotImplementedError

    def stop(self, listener: ListenerNode, vip: Vip) -> None:
        """`listener` is no longer served on `vip`, but known (it is disabled)."""

    def start(self, listener: ListenerNode, vip: Vip) -> None:
        """`listener`, stopped before, is served again on `vip`."""

    def delete(self, listener: Listener, vip: Vip) -> None:
        """Nothing of `listener` is left on `vip`. Not an error if there never was."""
        raise NotImplementedError

    def get_info(self, amphora: Placed) -> Mapping[str, Any]:
        """What the amphora says about itself: versions, interfaces."""
        raise NotImplementedError

    def get_diagnostics(self, amphora: Placed) -> Mapping[str, Any]:
        """Expensive tests of the amphora's own, asked for by an operator: JSON, shown as it is. NotImplementedError:
        this driver has none."""
        raise NotImplementedError

    def inventory(self, host: Host) -> Sequence[Found] | None:
        """The amphorae that the host has. None: this driver cannot tell."""
        return None

    def finalize_amphora(self, amphora: Placed) -> None:
        """The amphora has been built; nothing has been configured on it yet."""

    def post_network_plug(self, amphora: Placed) -> None:
        """The amphora has been connected to a network."""

    def post_vip_plug(self, load_balancer: LoadBalancer) -> None:
        """The VIP has been brought to the load balancer's amphorae."""

    def start_health_check(self, health: HealthMixin, stats: StatsMixin) -> None:
        """From now on tells `health` and `stats` what it hears; a listener of its own, if it needs one, runs."""

    def stop_health_check(self) -> None:
        """Nothing is told any more."""

    def update_load_balancer(self, amphora: Placed, tree: Tree, stamp: Stamp) -> str | None:
        """`amphora` does what `tree` says, and nothing else. What the controller calls; how it went, for the job's log.

        By default each listener is handed to `update` (or `stop`, if disabled), each that is going to `delete`.
        """
        for vip in tree.vips:
            for leaving in tree.leaving:
                self.delete(leaving, vip)
            for node in tree.listeners:
                self._serve(node, vip, enabled=tree.loadbalancer.admin_state_up)
        return None

    def delete_load_balancer(self, amphora: Placed, tree: Tree, stamp: Stamp) -> None:
        """Nothing of the load balancer is left on `amphora`. What the controller calls."""
        for vip in tree.vips:
            for listener in (*tree.leaving, *(node.listener for node in tree.listeners)):
                self.delete(listener, vip)

    def _serve(self, node: ListenerNode, vip: Vip, *, enabled: bool) -> None:
        if enabled and node.listener.admin_state_up:
            self.update(node, vip)
            self.start(node, vip)
        else:
            self.stop(node, vip)
