"""The fixed structs that rtnetlink messages begin with, under the kernel's names; in the host's byte order."""

from __future__ import annotations

import struct
from socket import AF_INET, AF_INET6

RTMSG = struct.Struct("=8BI")  # family, dst_len, src_len, tos, table, protocol, scope, type, flags
RTNEXTHOP = struct.Struct("=HBBi")  # length with the attributes that follow, flags, weight - 1, index
NDMSG = struct.Struct("=BxxxiHBB")  # family, index, state, flags, type
IFADDRMSG = struct.Struct("=4BI")  # family, prefixlen, flags, scope, index
IFINFOMSG = struct.Struct("=BxHiII")  # family, type, index, flags, change
NHMSG = struct.Struct("=4BI")  # family, scope, protocol, reserved, flags
U32 = struct.Struct("=I")

FAMILY = {4: AF_INET, 6: AF_INET6}
SIZE = {4: 4, 6: 16}  # octets of an address
