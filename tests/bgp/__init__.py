"""BGP with real daemons: BIRD 2, FRR's bgpd, GoBGP and ExaBGP, in network namespaces that the test makes.

    topology      hosts on one wire, and cutting them off
    values        what a speaker shall be, and what it says of itself, in nobody's words
    daemons       the process and the questions that all have in common: `Daemon`
    bird frr gobgp exabgp calico   one class each
    raw           a peer that does what the test says and nothing else
    agent         our whole daemon on one of the hosts
    cases         what ours has to be able to do with each of them

`ours` is our own speaker, by the options that users write, in `ours_process`; `test_interop` plays every case
with it and each of the others, `test_crowd` has fifty of it around a reflector, `test_forwarding` and
`test_calico_ipip` let packets flow.

What the daemons are like, as Debian 12 has them; what they cannot do is missing in their `abilities`:

- BIRD 2.0.12 sends a link-local next hop beside the global one if its link has such an address. It sends no
  MED of a static route over eBGP. It marks no route as stale: the neighbour is ("Neighbor graceful restart
  active"). What it was told by RFC 9003 is in its log alone, for the next dial that fails overwrites "Last
  error". Of very many communities it shows the first. A passive one keeps a connection that said nothing for
  minutes and refuses the next.
- BIRD and FRR ask for TTL 255 (RFC 5082) after accept: what a peer said before that is read, from however
  far.
- FRR 8.4's bgpd runs alone (`-Z -n`): zebra wants a user that is in the group frrvty, which a user namespace
  has not. Alone it knows no addresses of its own links. So it tells IPv6 prefixes over IPv4 with the next hop
  ::ffff:192.0.2.1, hence the outgoing route map ALL6; and it refuses what is told with a link-local next hop,
  and then even resets the session, hence hosts without link-local addresses wherever FRR is. After an
  attribute error it reads NLRI at the wrong place (treat-as-withdraw becomes NOTIFICATION 3/10). It sees a
  prefix limit passed at the UPDATE after. Where ADD-PATH is off it offers the families in capability 69 with
  the value 0. A command line ends at 4,096 octets. It reads the tunnel encapsulation attribute (RFC 9012), and
  drops it when it reflects a unicast route. Without graceful restart it sends no End-of-RIB, and so answers
  no refresh of a neighbour that knows RFC 7313. With `extended-optional-parameters` it reads no other OPENs.
- GoBGP 3.10 dials again only after eight seconds and more, whatever `connect-retry` says, and shows 30 s of
  idle hold where 1 was configured: let the other be there first. Its client announces no extended community
  but rt, and `disable` takes a `--reason` but does not send it, as `shutdown` does. What it was told is in
  its log alone. `softresetin` asks nobody. It does not keep NO_ADVERTISE to itself.
- ExaBGP 5.0 keeps no table; its paths are folded from the UPDATEs that it heard. It tells a link-local next
  hop as a second route of the same prefix, sends an AS_PATH that it was given as it is, on eBGP too,
  withdraws only with a next hop, and dials again after every teardown. It listens only on addresses that it
  is told.
"""
