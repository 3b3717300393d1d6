# SPDX-License-Identifier: Apache-2.0
"""What amphorae are told of each other: keepalived's configuration and HAProxy's peers, compared with files that one
can read, and accepted by the programs themselves."""

import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from caryatid.model.amphora import Amphora, Leg, Placed
from caryatid.model.network import Subnet
from caryatid.model.tree import Tree
from caryatid.plan import keepalived
from caryatid.plan.haproxy import RenderSettings, render
from caryatid.plan.quote import Unquotable

GOLDEN = Path(__file__).parent.parent / "golden" / "keepalived"
CASES = sorted(path.stem for path in GOLDEN.glob("*.yaml"))
OWN, OTHER = "a0000000-0000-4000-8000-000000000001", "a0000000-0000-4000-8000-000000000002"
INTERFACES = "ip link set lo up && ip link add eth0 type veth peer name eth1 && ip link set eth0 up"
Grow = Callable[[Any], Tree]


def placed_of(document: dict[str, Any]) -> Placed:
    legs = tuple(
        Leg(
            Subnet.model_construct(id=str(number), cidr=leg["cidr"], attachment=leg["attachment"]),
            "default",
            tuple(leg["vips"]),
            leg.get("address"),
        )
        for number, leg in enumerate(document["legs"])
    )
    own = Amphora.model_construct(**{"id": OWN, "vrrp_id": 7, **document["amphora"]})
    peers = tuple(Amphora.model_construct(id=OTHER, vrrp_ip=address) for address in document["peers"])
    return Placed(own, None, legs, peers)


def pair() -> dict[str, Any]:
    return dict(yaml.safe_load((GOLDEN / "pair.yaml").read_text()))


def said_against(command: list[str], text: str, file: Path) -> str:
    """What the program has to say about a configuration, where there are interfaces; empty: nothing."""
    run = str(file.parent)
    file.write_text(re.sub(r"@MAXCONN:\d+@", "1000", text.replace("@DIR@", run).replace("@RUN@", run)))
    inside = ["unshare", "--map-root-user", "--net", "sh", "-c", f'{INTERFACES} && exec "$@"', "sh"]
    done = subprocess.run([*inside, *command, file], capture_output=True, text=True, check=False, timeout=30)
    lines = [line for line in (done.stdout + done.stderr).splitlines() if "[NOTICE]" not in line]
    return "\n".join(lines) if lines or not done.returncode else f"status {done.returncode}"


@pytest.mark.parametrize("case", CASES)
def test_what_a_pair_is_told_is_the_golden_text_and_the_programs_take_it_without_a_warning(
    case: str, grow: Grow, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    document = yaml.safe_load((GOLDEN / f"{case}.yaml").read_text())
    tree, placed = grow(document), placed_of(document)
    texts = {
        "conf": keepalived.render(tree, placed, advert_interval_s=0.1),
        "cfg": render(tree, settings=RenderSettings(), placed=placed).text,
    }
    for kind, text in texts.items():
        golden = GOLDEN / f"{case}.{kind}"
        if request.config.getoption("--update-golden"):
            golden.write_text(text)
        assert text == golden.read_text()
    (tmp_path / "serving").write_text("0\n")
    (tmp_path / "servers.state").write_text("1\n")
    assert said_against(["haproxy", "-c", "-q", "-f"], texts["cfg"], tmp_path / "haproxy.cfg") == ""
    if texts["conf"]:
        check = ["/usr/sbin/keepalived", "--config-test", "--use-file"]
        assert said_against(check, texts["conf"], tmp_path / "keepalived.conf") == ""


@pytest.mark.parametrize("change", [{"peers": []}, {"legs": []}, {"amphora": {"role": "STANDALONE", "vrrp_id": None}}])
def test_who_is_not_one_of_a_pair_has_no_keepalived(grow: Grow, change: dict[str, Any]) -> None:
    document = {**pair(), **change}
    assert keepalived.render(grow(document), placed_of(document), advert_interval_s=0.1) == ""


def test_of_two_only_the_one_with_the_higher_priority_is_to_begin(grow: Grow) -> None:
    assert keepalived.PRIORITIES["MASTER"] > keepalived.PRIORITIES["BACKUP"]
    text = keepalived.render(grow(pair()), placed_of(pair()), advert_interval_s=0.1)
    assert "state BACKUP" in text
    assert "nopreempt" in text


def test_a_value_that_got_past_validation_is_refused(grow: Grow) -> None:
    placed = placed_of(pair())
    evil = placed.peers[0].model_copy(update={"vrrp_ip": "192.0.2.12\n}\nnotify /bin/sh"})
    with pytest.raises(Unquotable):
        keepalived.render(grow(pair()), replace(placed, peers=(evil,)), advert_interval_s=0.1)
