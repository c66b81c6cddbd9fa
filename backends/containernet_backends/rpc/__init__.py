"""gRPC on HTTP/2, as much of it as a client needs: bytes in, events out, and a thin shell of sockets around it.

    huffman, hpack    header fields as octets                RFC 7541
    frames, http2     streams of one connection              RFC 9113
    call              messages and a status on a stream      gRPC's PROTOCOL-HTTP2.md
    protobuf          the fields of a message                protobuf's encoding
    dialing, link     a socket that threads take turns at
    channel           an endpoint: a link when one is needed

Values here are named tuples: a class of attrs takes the better part of a millisecond to make, and a daemon that
starts waits for twenty of them. The package grpcio does all of it and more, for 20 MB, 60 ms at a start, and
threads that wake ten times a second.
"""
