"""What an operator writes under [store.bgp], checked, and what it comes to for one neighbour.

[store.bgp]
asn = 64512

[[store.bgp.peer]]                 # a host of the mesh: the AS is ours, so the session is internal
address = "192.0.2.2"

[[store.bgp.peer]]                 # the switch above: external, so a policy is needed both ways (RFC 8212)
address = "192.0.2.254"
asn = 65001
import_policy = "from-fabric"
export_policy = "to-fabric"

[[store.bgp.peer]]                 # whoever calls from there is a client of this reflector
range = "192.0.2.0/24"
client = true
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, ip_address, ip_network

import attrs

from containernet.errors import ConfigError
from containernet.model import Address, Prefix
from containernet.options import between, build

from .families import IPV4, IPV6
from .peering import Peer
from .policy import Policy, default
from .sockets import Transport

PORT = 179
HOLD_TIME = 9  # RFC 4271 s10 suggests 90: a dead host would be a black hole for as long
CALICO_HOLD_TIME = 240  # what BIRD offers, and Calico leaves as it is
CALICO_LOCAL_PREF = (
    2147483647 - 1024
)  # Calico's BIRD sends 2147483647 - metric, and its routes have metric 1024
PROFILES = ("", "calico")
_NAMES = {"ipv4": IPV4, "ipv6": IPV6}


@attrs.frozen(kw_only=True)
class Neighbour:
    """A [[store.bgp.peer]].

    Args:
        address: of one neighbour; or
        range: of neighbours that call us, each with the settings below.
        asn: the neighbour's AS; 0: ours, so the session is internal.
        external: of any AS; mostly for a `range`.
        port: where it listens.
        passive: wait for it to call.
        multihop: the TTL of what we send it; 0: 1 for an external neighbour, 255 for an internal one.
        ttl_security: how many hops away it may be at most, by its packets' TTL (RFC 5082); 0: not looked at.
        password: RFC 2385.
        local_address: to call from; empty: the kernel's choice.
        description: for people.
        client: we reflect to it and for it (RFC 4456).
        next_hop_self: tell it that the way to everybody is through us.
        hold_time: seconds, 0 or at least 3; -1: the speaker's.
        send_hold_time: seconds in which it has to take something of what we send; 0: 8 minutes, or twice the
            hold time where that is more (RFC 9687).
        families: `ipv4`, `ipv6`.
        add_paths: take several paths of a prefix from it (RFC 7911).
        import_policy, export_policy: names of [[store.bgp.policy]]; empty: everything where the session is
            internal, nothing where it is external (RFC 8212).
        max_prefixes: more, in one family, end the session (RFC 4486); 0: no limit, and none to our memory.
        allow_own_as: how often our own AS may be in a path of its.
        graceful_restart: keep its routes while it restarts (RFC 4724).
        tunnels: tell and take how packets are to be encapsulated, also where it is external (RFC 9012 s11).
    """

    address: str = ""
    range: str = ""
    asn: int = attrs.field(default=0, validator=between(0, 0xFFFFFFFF))
    external: bool = False
    port: int = attrs.field(default=PORT, validator=between(1, 65535))
    passive: bool = False
    multihop: int = attrs.field(default=0, validator=between(0, 255))
    ttl_security: int = attrs.field(default=0, validator=between(0, 254))
    password: str = attrs.field(default="", repr=False)
    local_address: str = ""
    description: str = ""
    client: bool = False
    next_hop_self: bool = False
    hold_time: int = -1
    send_hold_time: int = attrs.field(default=0, validator=between(0, 65535))
    families: tuple[str, ...] = attrs.field(default=("ipv4", "ipv6"), converter=tuple[str, ...])
    add_paths: bool = False
    import_policy: str = ""
    export_policy: str = ""
    max_prefixes: int = attrs.field(default=1_000_000, validator=between(0, 10**9))
    allow_own_as: int = attrs.field(default=0, validator=between(0, 10))
    graceful_restart: bool = True
    tunnels: bool = False

    def __attrs_post_init__(self) -> None:
        if bool(self.address) == bool(self.range):
            raise ConfigError("expected either address or range")
        if self.hold_time != -1:
            check_hold_time(self.hold_time)
        if self.external and self.asn:
            raise ConfigError(f"asn = {self.asn} and external = true: expected one of them")
        for name in self.families:
            if name not in _NAMES:
                raise ConfigError(f"families: {name!r}: expected some of {', '.join(_NAMES)}")
        self.reached, self.transport  # noqa: B018  (raise what is wrong with them)

    @property
    def reached(self) -> Prefix:
        """Where it is, or where those are whom it stands for."""
        return prefix("range", self.range) if self.range else ip_network(address("address", self.address))

    @property
    def transport(self) -> Transport:
        """How its sessions travel, but for the TTL that depends on its AS."""
        local = address("local_address", self.local_address) if self.local_address else None
        return Transport(local=local, password=self.password, ttl=self.multihop or 255, hops=self.ttl_security)


def check_hold_time(seconds: int) -> None:
    """Raise ConfigError where no BGP speaker would take that."""
    if seconds != 0 and not 3 <= seconds <= 65535:  # RFC 4271 s4.2
        raise ConfigError(f"hold_time = {seconds}: expected 0 (no keepalives) or 3 to 65535 seconds")


def address(name: str, text: str) -> Address:
    """Return the address that a key holds. Raises ConfigError with both."""
    try:
        return ip_address(text)
    except ValueError:
        raise ConfigError(f"{name} = {text!r}: expected an address such as 192.0.2.1 or 2001:db8::1") from None


def prefix(name: str, text: str) -> Prefix:
    """Return the prefix that a key holds. Raises ConfigError with both."""
    try:
        return ip_network(text)
    except ValueError as error:
        raise ConfigError(
            f"{name} = {text!r}: expected a prefix such as 192.0.2.0/24 or 2001:db8::/64 ({error})"
        ) from None


def _identifier(name: str, text: str) -> IPv4Address | None:
    if not text:
        return None
    try:
        value = IPv4Address(text)
    except ValueError:
        raise ConfigError(f"{name} = {text!r}: expected four octets such as 192.0.2.1") from None
    if not int(value):
        raise ConfigError(f"{name} = {text!r}: expected another than 0.0.0.0 (RFC 6286 s2.1)")
    return value


@attrs.frozen
class Listening:
    """An address and a port to listen at."""

    address: Address
    port: int

    @classmethod
    def parse(cls, text: object) -> Listening:
        """Return what `192.0.2.1:179` or `[2001:db8::1]:179` names; without a port it is 179.

        Raises:
            ConfigError: it names nothing.
        """
        wrong = ConfigError(
            f"listen: {text!r}: expected an address and a port, such as 0.0.0.0:179 or [::]:179"
        )
        if not isinstance(text, str):
            raise wrong
        host, bracket, rest = text.removeprefix("[").partition("]") if text.startswith("[") else (text, "", "")
        if not bracket and text.count(":") == 1:
            host, _, number = text.partition(":")
            rest = f":{number}"
        port = rest.removeprefix(":") if rest else str(PORT)
        if (rest and not rest.startswith(":")) or not port.isdecimal() or not 1 <= int(port) <= 65535:
            raise wrong
        try:
            return cls(ip_address(host), int(port))
        except ValueError:
            raise wrong from None

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if self.address.version == 6 else f"{self.address}:{self.port}"


def _everywhere() -> list[str]:
    return [f"0.0.0.0:{PORT}", f"[::]:{PORT}"]


@attrs.frozen(kw_only=True)
class BgpOptions:
    """[store.bgp].

    Args:
        asn: our AS, 1 to 4294967295; 64512 to 65534 and 4200000000 to 4294967294 are private (RFC 6996).
        router_id: our BGP Identifier; empty: the address that we call the first peer from, or made from it.
        listen: where peers may call us; empty: nowhere.
        local_pref: of our own routes within the AS; -1: 100, or what the profile says.
        hold_time: seconds without a word after which a peer is gone; -1: 9, or what the profile says.
        profile: `calico`: be as its nodes expect, which prefer local_pref 2147482623 and wait for 240 s.
        cluster_id: of this route reflector (RFC 4456); empty: the router id.
        multipath: how many ways of equal cost go into the kernel; 1: the best alone.
        restart_time: seconds that our peers keep our routes while we restart; 0: none (RFC 4724).
        start_wait: seconds after the first session came up in which the others may tell their routes,
            before what nobody told is taken for gone (RFC 4724 s4.1, Selection_Deferral_Timer).
        communities: put on our own routes, such as 64512:100.
        peer: tables of `Neighbour`.
        policy: tables of named rules.
    """

    asn: int = attrs.field(validator=between(1, 0xFFFFFFFF))
    router_id: str = ""
    listen: list[str] = attrs.Factory(_everywhere)
    local_pref: int = attrs.field(default=-1, validator=between(-1, 0xFFFFFFFF))
    hold_time: int = -1
    profile: str = ""
    cluster_id: str = ""
    multipath: int = attrs.field(default=8, validator=between(1, 64))
    restart_time: int = attrs.field(default=120, validator=between(0, 4095))
    start_wait: float = 10.0
    communities: list[str] = attrs.Factory(list)
    peer: list[Mapping[str, object]] = attrs.Factory(list)
    policy: list[Mapping[str, object]] = attrs.Factory(list)
    policies: Mapping[str, Policy] = attrs.field(init=False)
    peers: tuple[Neighbour, ...] = attrs.field(init=False)
    listening: tuple[Listening, ...] = attrs.field(init=False)

    @policies.default
    def _policies(self) -> Mapping[str, Policy]:
        policies = [Policy.from_options(table) for table in self.policy]
        return {policy.name: policy for policy in policies}

    @peers.default
    def _peers(self) -> tuple[Neighbour, ...]:
        return tuple(build(Neighbour, table, table="store.bgp.peer") for table in self.peer)

    @listening.default
    def _listening(self) -> tuple[Listening, ...]:
        return tuple(Listening.parse(text) for text in self.listen)

    def __attrs_post_init__(self) -> None:
        if self.profile not in PROFILES:
            raise ConfigError(f"profile = {self.profile!r}: expected nothing or 'calico'")
        if self.hold_time != -1:
            check_hold_time(self.hold_time)
        if not 0 <= self.start_wait <= 600:
            raise ConfigError(f"start_wait = {self.start_wait}: expected 0 to 600 seconds")
        _identifier("router_id", self.router_id)
        _identifier("cluster_id", self.cluster_id)
        reached = [peer.reached for peer in self.peers]
        for again in reached:
            if reached.count(again) > 1:
                raise ConfigError(f"peer {again} is there {reached.count(again)} times: expected once")
        for name in {name for peer in self.peers for name in (peer.import_policy, peer.export_policy)} - {""}:
            if name not in self.policies:
                known = ", ".join(self.policies) or "none"
                raise ConfigError(f"peer: there is no policy {name!r}; there are: {known}")
        if not self.listening and any(peer.range or peer.passive for peer in self.peers):
            raise ConfigError(
                "listen is empty, and a peer with a range or passive = true would have to call us"
            )

    @property
    def preference(self) -> int:
        """LOCAL_PREF of our own routes (RFC 4271 s5.1.5)."""
        if self.local_pref != -1:
            return self.local_pref
        return CALICO_LOCAL_PREF if self.profile == "calico" else 100

    def identifier(self) -> IPv4Address | None:
        """Return the BGP Identifier that is configured, or None."""
        return _identifier("router_id", self.router_id)

    def cluster(self) -> IPv4Address | None:
        """Return the CLUSTER_ID that is configured, or None."""
        return _identifier("cluster_id", self.cluster_id)

    def range_of(self, address: Address) -> Neighbour | None:
        """Return the narrowest range that an address is in; None: it is in none."""
        fitting = [
            peer
            for peer in self.peers
            if peer.range and address.version == peer.reached.version and address in peer.reached
        ]
        return max(fitting, key=lambda each: each.reached.prefixlen, default=None)

    def judged_by(self, name: str, *, external: bool) -> Policy:
        """Return the policy of that name; empty: that of a peer which has none."""
        return self.policies[name] if name else default(external=external)

    def external(self, neighbour: Neighbour) -> bool:
        """Return whether `neighbour` is of another AS."""
        return neighbour.external or neighbour.asn not in (0, self.asn)

    def peering(self, neighbour: Neighbour, address: Address) -> Peer:
        """Return what a session with `address`, for which `neighbour` stands, is to be."""
        hold_time = self.hold_time if neighbour.hold_time == -1 else neighbour.hold_time
        if hold_time == -1:
            hold_time = CALICO_HOLD_TIME if self.profile == "calico" else HOLD_TIME
        families = tuple(_NAMES[name] for name in neighbour.families)
        return Peer(
            address=address,
            asn=0 if neighbour.external else neighbour.asn or self.asn,
            external=neighbour.external,
            port=neighbour.port,
            passive=neighbour.passive or bool(neighbour.range),
            dynamic=bool(neighbour.range),
            hold_time=hold_time,
            send_hold_time=neighbour.send_hold_time,
            families=families,
            add_paths=families if neighbour.add_paths else (),
            graceful_restart=neighbour.graceful_restart,
            tunnels=neighbour.tunnels,
        )

    def hops(self, version: int) -> int:
        """Return how many hops away a caller of that version of IP may be (RFC 5082); 0: any.

        Once a connection is accepted, each has its own limit. But what is sent at once comes before that.
        """
        limits = [each.ttl_security for each in self.peers if each.reached.version == version]
        return max(limits) if limits and all(limits) else 0

    def travel(self, neighbour: Neighbour) -> Transport:
        """Return how a session with `neighbour` travels: to an external one over one link, or by `multihop`."""
        near = self.external(neighbour) and not neighbour.multihop  # RFC 4271 s5.1.3: on a common subnet
        return attrs.evolve(neighbour.transport, ttl=1) if near else neighbour.transport
