"""What the specification demands of a plugin, asked of the reference plugins and of ours.

Each test is one or several of its MUSTs and musts (SPEC.md, versions 0.3.1 to 1.1.0). The reference plugins
show that the tests ask for what the specification says, and not for what we happen to do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from ipaddress import ip_address, ip_interface
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.kernel.conftest import Netns

from .hosts import Host
from .runtime import Runtime

pytestmark = pytest.mark.kernel

REFERENCE = Path("/usr/lib/cni/bridge")
VERSIONS = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    """The reference plugins bridge and host-local, version 1.1.1, which speak up to 1.0.0."""
    if not REFERENCE.exists():
        pytest.skip("no reference plugins: install Debian's containernetworking-plugins")
    data = str(tmp_path_factory.mktemp("host-local"))
    ipam = {"type": "host-local", "subnet": "10.22.0.0/16", "dataDir": data, "routes": [{"dst": "0.0.0.0/0"}]}
    with closing(Netns()) as host:
        config = {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipam": ipam}
        yield Runtime(host=host, plugin=REFERENCE, config=config, versions=VERSIONS[:3])


@pytest.fixture(params=["reference", "ours"])
def runtime(request: pytest.FixtureRequest) -> Runtime:
    """A runtime for either."""
    if request.param == "reference":
        found: Runtime = request.getfixturevalue("reference")
        return found
    host: Host = request.getfixturevalue("clean")
    return host.runtime


@pytest.fixture
def container(netns: Callable[[], Netns]) -> Netns:
    """A container's namespace."""
    return netns()


def addresses(container: Netns, interface: str = "eth0") -> set[str]:
    """Return the addresses that an interface inside has, but for those that it has by itself."""
    shown = json.loads(container.ip(f"-json address show dev {interface}"))
    return {
        f"{each['local']}/{each['prefixlen']}"
        for link in shown
        for each in link.get("addr_info", ())
        if each["scope"] == "global"
    }


def has(container: Netns, interface: str = "eth0") -> bool:
    """Return whether there is such an interface inside."""
    return container.can(f"link show dev {interface}")


def delete(runtime: Runtime, container: str = "c1", netns: str = "", **more: Any) -> None:
    """Have an attachment deleted, which must succeed without a word."""
    done = runtime.ask("DEL", container, netns, **more)
    assert done.result is None


@pytest.mark.parametrize("version", VERSIONS)
def test_add_makes_the_interface_that_its_result_describes(
    runtime: Runtime, container: Netns, version: str
) -> None:
    """Section 2, ADD, and section 5, ADD Success: the result is what is in the namespace."""
    if version not in runtime.versions:
        assert runtime.ask("ADD", "c1", container.path, version=version).error["code"] == 1
        return
    result = runtime.ask("ADD", "c1", container.path, version=version).result
    try:
        assert result["cniVersion"] == version
        [inside] = [each for each in result["interfaces"] if each.get("sandbox")]
        assert (inside["name"], inside["sandbox"]) == ("eth0", container.path)
        [link] = json.loads(container.ip("-json link show dev eth0"))
        assert inside["mac"] == link["address"]
        assert inside.get("mtu", link["mtu"]) == link["mtu"]
        for each in result["interfaces"]:
            assert each.get("sandbox") or runtime.host.can(f"link show dev {each['name']}")
        assert {each["address"] for each in result["ips"]} == addresses(container)
        for each in result["ips"]:
            assert result["interfaces"][each["interface"]] == inside
            own = ip_interface(each["address"])
            assert ip_address(each["gateway"]) in own.network
            assert each.get("version") == (None if version >= "1" else str(own.version))
        assert "0.0.0.0/0" in {route["dst"] for route in result["routes"]}
        gateway = result["ips"][0]["gateway"]
        assert f"default via {gateway}" in container.ip("route")
        assert container.run("ping", "-c1", "-W2", gateway)
    finally:
        delete(runtime, "c1", container.path, version=version, prevResult=result)
    assert not has(container)


def test_add_where_the_interface_exists_is_an_error(runtime: Runtime, container: Netns) -> None:
    """Section 2, ADD: "MUST return with an error"; the interface stays as it was."""
    container.ip("link add eth0 type veth peer name other")
    before = container.ip("-json address")
    assert runtime.ask("ADD", "c1", container.path).error
    assert container.ip("-json address") == before
    container.ip("link del eth0")
    delete(runtime, "c1", container.path)


def test_add_twice_is_an_error_and_the_first_stands(runtime: Runtime, container: Netns) -> None:
    """The same for an interface of our own; one of another name is another attachment."""
    first = runtime.ask("ADD", "c1", container.path).result
    before = addresses(container)
    assert runtime.ask("ADD", "c1", container.path).error
    assert addresses(container) == before
    second = runtime.ask("ADD", "c1", container.path, interface="net1").result
    assert not addresses(container) & addresses(container, "net1")
    delete(runtime, "c1", container.path, prevResult=first)
    assert (has(container), has(container, "net1")) == (False, True)
    delete(runtime, "c1", container.path, interface="net1", prevResult=second)
    assert not has(container, "net1")


def test_delete_may_be_called_again_and_for_what_never_was(runtime: Runtime, container: Netns) -> None:
    """Section 2, DEL: "Plugins MUST accept multiple DEL calls", and return success where nothing is there."""
    delete(runtime, "never", container.path)
    result = runtime.ask("ADD", "c1", container.path).result
    delete(runtime, "c1", container.path, prevResult=result)
    assert not has(container)
    for netns in (container.path, "/run/netns/gone", ""):
        delete(runtime, "c1", netns, prevResult=result)
    delete(runtime, "c1", container.path)


def test_delete_needs_neither_a_result_nor_a_namespace(runtime: Runtime, netns: Callable[[], Netns]) -> None:
    """Section 2, DEL: both may be missing, and it is no error."""
    container = netns()
    runtime.ask("ADD", "c1", container.path).result["ips"]
    delete(runtime, "c1", container.path)
    assert not has(container)
    runtime.ask("ADD", "c1", container.path).result["ips"]
    path = container.path
    container.close()
    delete(runtime, "c1", path)
    delete(runtime, "c1", "")


def test_check_says_whether_all_is_as_the_result_says(runtime: Runtime, container: Netns) -> None:
    """Section 2, CHECK: an error where the interface, an address or a route of the result is missing."""
    result = runtime.ask("ADD", "c1", container.path).result
    try:
        assert runtime.ask("CHECK", "c1", container.path, prevResult=result).result is None
        container.ip("route del default")
        assert runtime.ask("CHECK", "c1", container.path, prevResult=result).error
        container.ip("link set eth0 down")
        container.ip("address flush dev eth0")
        assert runtime.ask("CHECK", "c1", container.path, prevResult=result).error
        container.ip("link del eth0")
        # Ours may have laid the cable anew by now.
        done = runtime.ask("CHECK", "c1", container.path, prevResult=result)
        assert done.code != 0 or addresses(container) == {each["address"] for each in result["ips"]}
    finally:
        delete(runtime, "c1", container.path, prevResult=result)


def test_check_of_what_is_not_there_is_an_error(runtime: Runtime, container: Netns) -> None:
    """And so is one that came before there was a CHECK."""
    result = runtime.ask("ADD", "c1", container.path).result
    delete(runtime, "c1", container.path, prevResult=result)
    assert runtime.ask("CHECK", "c1", container.path, prevResult=result).error
    assert runtime.ask("CHECK", "c1", container.path, version="0.3.1", prevResult=result).error["code"] == 1


def test_version_is_told_whatever_else_is_said(runtime: Runtime) -> None:
    """Section 2, VERSION: `cniVersion` and `supportedVersions`; runtimes probe with dummies."""
    dummies = runtime.environment("VERSION", "dummy", "dummy", "dummy")
    for environment in ({"CNI_COMMAND": "VERSION"}, dummies):
        told = runtime.execute(environment, json.dumps({"cniVersion": "1.0.0"})).result
        assert told["cniVersion"] == "1.0.0"
        assert set(runtime.versions) <= set(told["supportedVersions"])


@pytest.mark.parametrize(
    ("command", "missing"),
    [
        ("ADD", "CNI_CONTAINERID"),
        ("ADD", "CNI_NETNS"),
        ("ADD", "CNI_IFNAME"),
        ("CHECK", "CNI_CONTAINERID"),
        ("CHECK", "CNI_NETNS"),
        ("CHECK", "CNI_IFNAME"),
        ("DEL", "CNI_CONTAINERID"),
        ("DEL", "CNI_IFNAME"),
    ],
)
def test_a_variable_that_is_missing_is_named(
    runtime: Runtime, container: Netns, command: str, missing: str
) -> None:
    """Section 5, Error, code 4: "The error message must contain the names of invalid variables"."""
    whole = runtime.environment(command, "c1", container.path, "eth0")
    config = json.dumps(runtime.configured(runtime.version))
    for environment in ({**whole, missing: ""}, {key: whole[key] for key in whole if key != missing}):
        error = runtime.execute(environment, config).error
        assert (error["code"], missing in error["msg"]) == (4, True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CNI_COMMAND", "NONSENSE"),
        ("CNI_CONTAINERID", "/c1"),
        ("CNI_CONTAINERID", "c 1"),
        ("CNI_CONTAINERID", "-c1"),
        ("CNI_IFNAME", "eth/0"),
        ("CNI_IFNAME", "eth:0"),
        ("CNI_IFNAME", "."),
        ("CNI_IFNAME", "e" * 16),
    ],
)
def test_a_variable_that_cannot_be_is_refused(
    runtime: Runtime, container: Netns, name: str, value: str
) -> None:
    """Section 2, Parameters: what an id and an interface may be called; code 4."""
    whole = runtime.environment("ADD", "c1", container.path, "eth0")
    error = runtime.execute({**whole, name: value}, json.dumps(runtime.configured(runtime.version))).error
    assert error["code"] == 4


@pytest.mark.parametrize("stdin", ["", "{", "nonsense", "\xff\xfe", '{"name": "net", "cniVersion": 7}'])
def test_what_is_not_json_cannot_be_decoded(runtime: Runtime, container: Netns, stdin: str) -> None:
    """Section 5, Error, code 6, also for a version that is no text."""
    environment = runtime.environment("ADD", "c1", container.path, "eth0")
    assert runtime.execute(environment, stdin.encode("latin-1")).error["code"] == 6


@pytest.mark.parametrize("name", [None, "", "/", "a b", "-a"])
def test_a_network_has_a_name(runtime: Runtime, container: Netns, name: str | None) -> None:
    """Section 1: it begins with a letter or a digit; code 7."""
    assert runtime.ask("ADD", "c1", container.path, name=name).error["code"] == 7


@pytest.mark.parametrize("version", ["0.2.99", "1.9.0", "2.0.0", "nonsense"])
@pytest.mark.parametrize("command", ["ADD", "DEL"])
def test_a_version_that_is_not_spoken_is_refused(
    runtime: Runtime, container: Netns, command: str, version: str
) -> None:
    """Section 5, Error, code 1; nothing is done."""
    assert runtime.ask(command, "c1", container.path, version=version).error["code"] in (1, 6)
    assert not has(container)


def test_a_namespace_that_is_none_is_an_error_that_leaves_nothing(runtime: Runtime, tmp_path: Path) -> None:
    """Section 2, ADD; the runtime calls DEL after it, without a result."""
    (tmp_path / "file").touch()
    for netns in (tmp_path / "nonesuch", tmp_path / "file", tmp_path):
        assert runtime.ask("ADD", "c1", str(netns)).error
    delete(runtime, "c1", str(tmp_path / "nonesuch"))


def test_different_containers_may_be_added_and_deleted_at_once(
    runtime: Runtime, netns: Callable[[], Netns]
) -> None:
    """Section 3, Lifecycle: "Plugins must handle being executed concurrently across different containers"."""
    containers = {f"c{number}": netns() for number in range(8)}
    with ThreadPoolExecutor(8) as threads:
        added = threads.map(lambda each: runtime.ask("ADD", each[0], each[1].path).result, containers.items())
        results = dict(zip(containers, added, strict=True))
        given = [each["address"] for result in results.values() for each in result["ips"]]
        assert len(set(given)) == len(given)
        for name, container in containers.items():
            assert addresses(container) == {each["address"] for each in results[name]["ips"]}
        list(
            threads.map(
                lambda each: delete(runtime, each[0], each[1].path, prevResult=results[each[0]]),
                containers.items(),
            )
        )
    assert not any(map(has, containers.values()))


def test_the_address_of_one_that_failed_is_free(runtime: Runtime, container: Netns) -> None:
    """Section 3: a DEL follows an ADD that failed; whoever comes next can have what it would have had."""
    if "ipam" in runtime.config:
        small = {**runtime.config["ipam"], "subnet": "10.23.0.0/30"}
        runtime = attrs.evolve(runtime, config={**runtime.config, "bridge": "cni1", "ipam": small})
    for _ in range(3):
        assert runtime.ask("ADD", "failed", "/run/netns/nonesuch").error
        delete(runtime, "failed", "/run/netns/nonesuch")
    result = runtime.ask("ADD", "c1", container.path).result
    delete(runtime, "c1", container.path, prevResult=result)
