"""Commands about what all hosts share: the network's settings, and subnets set aside."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import closing
from ipaddress import ip_network
from typing import Any

from containernet import jsonform, loading
from containernet.cli.operate import load
from containernet.cli.table import show_json
from containernet.contracts import KeepsSettings, Reserves, Settings
from containernet.errors import ConfigError, LeaseTaken
from containernet.model import Lease, NetworkConfig, Prefix, contains, overlaps


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the commands of this module."""
    network = commands.add_parser("network", help="what the store says to all hosts: pools and dataplane")
    words = network.add_subparsers(metavar="COMMAND", required=True)
    parser = words.add_parser("show", help="show it")
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(run=show)
    parser = words.add_parser("set", help="store what [network] and [dataplane] of the config file say")
    parser.add_argument("--force", action="store_true", help="even if hosts hold subnets that do not fit it")
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(run=set_)

    for function, words_ in (
        (reserve, "set subnets aside for ever: no host will lease them"),
        (release, "give reserved subnets back"),
    ):
        parser = commands.add_parser(function.__name__, help=words_)
        parser.add_argument("subnets", nargs="+", metavar="SUBNET", help="such as 10.4.9.0/24")
        parser.add_argument("--json", action="store_true")
        parser.set_defaults(run=function)
    parser.add_argument("--force", action="store_true", help="also those that a host holds a lease of")


def show(arguments: argparse.Namespace) -> int:
    """Show the settings as the store holds them."""
    config = load(arguments)
    with closing(loading.lease_store(config.leases.name, config.leases.options)) as store:
        if isinstance(store, KeepsSettings):
            settings = store.settings()
        else:
            network = store.network()
            settings = Settings(network=network) if network is not None else None
    if settings is None:
        raise ConfigError(f"the store {config.leases.name} holds no network yet: `containernet network set`")
    _print(settings, json=arguments.json)
    return 0


def set_(arguments: argparse.Namespace) -> int:
    """Store the settings of the config file for all hosts."""
    from containernet.assembly import default_dataplane

    config = load(arguments)
    if config.network is None:
        raise ConfigError("[network] of the config file names no pool: set pool, pool6 or both")
    dataplane = default_dataplane(config)
    loading.remote_dataplane(dataplane.name, dataplane.options)  # no host could follow what cannot be built
    settings = Settings(network=config.network, dataplane=dataplane.name, options=dataplane.options)
    with closing(loading.lease_store(config.leases.name, config.leases.options)) as store:
        if not isinstance(store, KeepsSettings):
            raise ConfigError(f"the store {config.leases.name} keeps no settings: each host's file says them")
        over = store.settings()
        if not arguments.force:
            _refuse_misfits(settings, store.leases())
        standing = store.keep(settings, over=over)
    if standing != settings:
        raise LeaseTaken("somebody else has changed the settings meanwhile: look at them and try again")
    _print(settings, json=arguments.json)
    return 0


def _refuse_misfits(settings: Settings, leases: Sequence[Lease]) -> None:
    from containernet.keeper import describe

    misfits = [lease for lease in leases if lease.node and not settings.network.admits(lease.subnets)]
    if misfits:
        held = ", ".join(f"{_words(lease.subnets)} of {lease.node}" for lease in misfits[:3])
        raise ConfigError(
            f"{len(misfits)} leases do not fit {describe(settings.network)}: {held}; their hosts would have to "
            "change over, with all their containers; --force if they shall"
        )


def _print(settings: Settings, *, json: bool) -> None:
    from containernet.keeper import describe

    if json:
        show_json(jsonform.settings_to_json(settings))
        return
    print(f"pools      {describe(settings.network)}")
    options = "".join(f" {name}={value}" for name, value in settings.options.items())
    print(f"dataplane  {settings.dataplane + options if settings.dataplane else 'as each host says'}")
    if settings.mtu:
        print(f"MTU        {settings.mtu} on the underlay at most")


def reserve(arguments: argparse.Namespace) -> int:
    """Set subnets aside, one reservation for each."""
    subnets = [_prefix(text) for text in arguments.subnets]
    config = load(arguments)
    with closing(loading.lease_store(config.leases.name, config.leases.options)) as store:
        if not isinstance(store, Reserves):
            raise ConfigError(f"the store {config.leases.name} cannot reserve: use reserved under [network]")
        if (network := config.network or store.network()) is not None:
            _refuse_strangers(subnets, network)
        done = [store.reserve((subnet,)) for subnet in subnets]
    return _tell(done, "reserved", json=arguments.json)


def _refuse_strangers(subnets: Sequence[Prefix], network: NetworkConfig) -> None:
    from containernet.keeper import describe

    for subnet in subnets:
        if not any(overlaps(pool.prefix, subnet) for pool in network.pools):
            raise ConfigError(
                f"{subnet} lies in no pool of {describe(network)}: no host would lease it; nothing was done"
            )


def release(arguments: argparse.Namespace) -> int:
    """Give reservations back; with --force leases of hosts too."""
    subnets = [_prefix(text) for text in arguments.subnets]
    config = load(arguments)
    with closing(loading.lease_store(config.leases.name, config.leases.options)) as store:
        leases = store.leases()
        found = [_found(leases, subnet, force=arguments.force) for subnet in subnets]
        due = list({lease.revision: lease for lease in found}.values())
        for lease in due:
            store.release(lease)
    return _tell(due, "released", json=arguments.json)


def _found(leases: Sequence[Lease], subnet: Prefix, *, force: bool) -> Lease:
    lease = next((each for each in leases if subnet in each.subnets), None)
    if lease is None:
        near = [each for each in leases if any(contains(own, subnet) for own in each.subnets)]
        hint = f"; {_words(near[0].subnets)} is" if near else "; see `containernet leases`"
        raise ConfigError(f"{subnet} is neither reserved nor leased{hint}")
    if lease.node and not force:
        raise ConfigError(
            f"{subnet} is leased to {lease.node}, not reserved: stop its containernetd with --leave, or say "
            "--force if the host is gone for good"
        )
    return lease


def _tell(leases: Sequence[Lease], word: str, *, json: bool) -> int:
    if json:
        show_json({word: [jsonform.lease_to_json(lease) for lease in leases]})
    else:
        for lease in leases:
            print(f"{_words(lease.subnets)} {word}")
    return 0


def _prefix(text: str) -> Prefix:
    try:
        return ip_network(text)
    except ValueError as error:
        raise ConfigError(f"{text!r}: expected a subnet such as 10.4.9.0/24 ({error})") from None


def _words(subnets: Sequence[Prefix]) -> str:
    return " ".join(map(str, subnets))
