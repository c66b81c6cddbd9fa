"""HPACK, Huffman and protobuf, against the packages hpack and protobuf, and etcd's own messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import hpack
import pytest
from google.protobuf.message import DecodeError
from hpack.exceptions import HPACKError
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.huffman_table import decode_huffman
from hypothesis import given, strategies as st

from containernet_backends.etcd import messages, requests
from containernet_backends.rpc import hpack as ours, huffman, protobuf
from tests.etcd import descriptors

HUFFMAN = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)
names = st.from_regex(r":?[a-z][a-z0-9-]{0,20}", fullmatch=True)
values = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=200)
fields = st.lists(st.one_of(st.tuples(names, values), st.sampled_from(ours.STATIC)), max_size=10)
int64 = st.integers(-(1 << 63), (1 << 63) - 1)
some_octets = st.binary(max_size=300)


@given(some_octets)
def test_every_text_is_read_back_from_its_code(text: bytes) -> None:
    """RFC 7541 s5.2."""
    assert huffman.decode(HUFFMAN.encode(text)) == text


@given(st.one_of(st.binary(max_size=20), st.lists(st.sampled_from([0, 255, 254, 127]), max_size=9).map(bytes)))
def test_what_is_no_code_is_refused_by_both(octets: bytes) -> None:
    """Padding of eight bits and more, or not of ones; EOS."""
    try:
        expected = decode_huffman(octets)
    except HPACKError:
        with pytest.raises(ValueError, match="Huffman"):
            huffman.decode(octets)
    else:
        assert huffman.decode(octets) == expected


@given(fields, st.booleans())
def test_fields_of_an_encoder_without_a_table_are_read(found: list[tuple[str, str]], huffman: bool) -> None:
    """As every encoder is that has heard our SETTINGS; the first block says so itself."""
    encoder = hpack.Encoder()
    encoder.header_table_size = 0
    for _ in range(2):
        assert ours.decode(encoder.encode(found, huffman=huffman)) == tuple(found)


@given(fields)
def test_fields_that_we_write_are_read_by_others(found: list[tuple[str, str]]) -> None:
    """And a secret is marked as one that nobody may keep."""
    read = hpack.Decoder().decode(ours.encode([*found, ("token", "x")], secret="token"), raw=True)
    assert [(name.decode(), value.decode()) for name, value in read] == [*found, ("token", "x")]
    assert [type(each).__name__ for each in read][-1] == "NeverIndexedHeaderTuple"


@given(st.one_of(some_octets, fields.map(lambda found: ours.encode(found)[:-1])))
def test_a_block_is_read_as_others_read_it_or_refused(block: bytes) -> None:
    """Nothing but ValueError comes out."""
    try:
        read = ours.decode(block)
    except ValueError:
        return
    decoder = hpack.Decoder(max_header_list_size=1 << 24)
    decoder.header_table_size = decoder.max_allowed_table_size = 0
    expected = decoder.decode(block, raw=True)
    assert [(name.decode("latin1"), value.decode("latin1")) for name, value in expected] == list(read)


def test_a_table_of_a_servers_own_is_refused() -> None:
    """Neither may it be made, nor referred to (RFC 7541 s4.2, s2.3.3)."""
    for block in (b"\x3f\xe1\x1f", b"\xbe", b"\x80", b"\x88\x20"):
        with pytest.raises(ValueError, match="table"):
            ours.decode(block)


# Messages.

ANSWERS: Sequence[tuple[Callable[[bytes], object], str]] = (
    (messages.header, "ResponseHeader"),
    (messages.RANGE.read, "RangeResponse"),
    (messages.TXN.read, "TxnResponse"),
    (messages.LEASE_GRANT.read, "LeaseGrantResponse"),
    (messages.LEASE_KEEP_ALIVE.read, "LeaseKeepAliveResponse"),
    (messages.LEASE_TIME_TO_LIVE.read, "LeaseTimeToLiveResponse"),
    (messages.LEASE_REVOKE.read, "LeaseRevokeResponse"),
    (messages.AUTHENTICATE.read, "AuthenticateResponse"),
    (messages.WATCH.read, "WatchResponse"),
)


def any_message(kind: Any, depth: int = 4) -> st.SearchStrategy[Any]:
    """Return messages of a kind of etcd's, with any of their fields."""
    by_name = {field.name: any_value(field, depth) for field in kind.DESCRIPTOR.fields}
    present = st.fixed_dictionaries({}, optional=by_name)
    return present.map(lambda found: kind(**found))


def any_value(field: Any, depth: int) -> st.SearchStrategy[Any]:
    """Return values of a field."""
    one: st.SearchStrategy[Any]
    match field.type:
        case field.TYPE_MESSAGE:
            if not depth:
                return st.just([] if field.is_repeated else None)
            one = any_message(field.message_type._concrete_class, depth - 1)
        case field.TYPE_BOOL:
            one = st.booleans()
        case field.TYPE_ENUM:
            one = st.sampled_from([each.number for each in field.enum_type.values])
        case field.TYPE_UINT64:
            one = st.integers(0, (1 << 64) - 1)
        case field.TYPE_INT32:
            one = st.integers(-(1 << 31), (1 << 31) - 1)
        case field.TYPE_STRING:
            one = st.text(max_size=20)
        case field.TYPE_BYTES:
            one = st.binary(max_size=200)
        case _:
            one = int64
    return st.lists(one, max_size=3) if field.is_repeated else one


def same(read: Any, told: Any) -> bool:
    """Whether what we have read is what a message of etcd's says, as far as we look."""
    if hasattr(read, "_asdict"):
        names = {"id": "ID", "ttl": "TTL"}
        return all(same(value, getattr(told, names.get(name, name))) for name, value in read._asdict().items())
    if isinstance(read, list | tuple):
        return len(read) == len(told) and all(map(same, read, told))
    return bool(read == told)


@pytest.mark.parametrize(("read", "theirs"), ANSWERS, ids=lambda each: each if isinstance(each, str) else "")
@given(data=st.data())
def test_answers_mean_what_etcds_own_messages_say(
    read: Callable[[bytes], object], theirs: str, data: st.DataObject
) -> None:
    """Whatever is in them, in every field that we look at; fields that a later etcd may add are passed over."""
    told = data.draw(any_message(getattr(descriptors.load(), theirs)))
    added = data.draw(st.sampled_from([b"", protobuf.octets(1000, b"new"), protobuf.integer(1001, 7)]))
    encoded = told.SerializeToString()
    assert same(read(encoded + added), told)


@given(st.data())
def test_a_key_means_what_etcds_own_message_says(data: st.DataObject) -> None:
    """It is read by code of its own; so is one with a field that a later etcd may add."""
    told = data.draw(any_message(descriptors.load().KeyValue))
    encoded = told.SerializeToString()
    assert same(messages.key_value(encoded), told)
    assert same(messages.key_value(protobuf.octets(1000, b"new") + encoded), told)
    assert same(messages.key_value(encoded + protobuf.integer(7, 7)), told)


READERS: Sequence[tuple[Callable[[bytes], object], str]] = (
    (messages.key_value, "KeyValue"),
    (messages.RANGE.read, "RangeResponse"),
    (messages.TXN.read, "TxnResponse"),
    (messages.WATCH.read, "WatchResponse"),
)


@pytest.mark.parametrize(("read", "theirs"), READERS, ids=lambda each: each if isinstance(each, str) else "")
@given(data=st.data())
def test_what_is_no_message_is_refused(
    read: Callable[[bytes], object], theirs: str, data: st.DataObject
) -> None:
    """By ValueError and nothing else; and what is cut off, by us wherever by protobuf."""
    kind = getattr(descriptors.load(), theirs)
    encoded = data.draw(any_message(kind)).SerializeToString()
    cut = encoded[: data.draw(st.integers(0, len(encoded)))]
    junk = data.draw(st.binary(max_size=20))
    for octets in (cut, junk, encoded + junk):
        try:
            kind.FromString(octets)
            good = True
        except DecodeError:
            good = False
        try:
            read(octets)
        except ValueError:
            pass
        else:
            assert good or octets is not cut


# Requests.

m = descriptors.load()
keys, revisions = st.binary(min_size=1, max_size=40), st.integers(0, (1 << 63) - 2)
operations = st.one_of(
    st.builds(lambda key: (requests.get(key), m.RequestOp(request_range=m.RangeRequest(key=key))), keys),
    st.builds(
        lambda begin, end, revision: (
            requests.created_since(begin, end, revision),
            m.RequestOp(
                request_range=m.RangeRequest(key=begin, range_end=end, min_create_revision=revision + 1)
            ),
        ),
        keys,
        keys,
        revisions,
    ),
    st.builds(
        lambda key, value, lease: (
            requests.put(key, value, lease),
            m.RequestOp(request_put=m.PutRequest(key=key, value=value, lease=lease)),
        ),
        keys,
        some_octets,
        int64,
    ),
    st.builds(
        lambda key: (
            requests.put_again(key),
            m.RequestOp(request_put=m.PutRequest(key=key, ignore_value=True, ignore_lease=True)),
        ),
        keys,
    ),
    st.builds(
        lambda key, lease: (
            requests.hang(key, lease),
            m.RequestOp(request_put=m.PutRequest(key=key, ignore_value=True, lease=lease)),
        ),
        keys,
        int64,
    ),
    st.builds(
        lambda key: (requests.delete(key), m.RequestOp(request_delete_range=m.DeleteRangeRequest(key=key))),
        keys,
    ),
)
conditions = st.one_of(
    st.builds(
        lambda key, revision: (
            requests.unchanged(key, revision),
            m.Compare(target="MOD", result="EQUAL", key=key, mod_revision=revision),
        ),
        keys,
        revisions,
    ),
    st.builds(
        lambda key, lease: (
            requests.hangs_on(key, lease),
            m.Compare(target="LEASE", result="EQUAL", key=key, lease=lease),
        ),
        keys,
        int64,
    ),
    st.builds(
        lambda begin, end, revision: (
            requests.nothing_created(begin, end, revision),
            m.Compare(target="CREATE", result="LESS", key=begin, range_end=end, create_revision=revision + 1),
        ),
        keys,
        keys,
        revisions,
    ),
)
several = st.lists(operations, max_size=4)


@given(st.lists(conditions, max_size=4), several, several)
def test_a_transaction_is_what_protobuf_writes(
    compare: Sequence[Any], success: Sequence[Any], failure: Sequence[Any]
) -> None:
    """Octet by octet."""
    written = requests.txn(*([ours for ours, _ in part] for part in (compare, success, failure)))
    expected = m.TxnRequest(
        compare=[theirs for _, theirs in compare],
        success=[theirs for _, theirs in success],
        failure=[theirs for _, theirs in failure],
    )
    assert written == expected.SerializeToString(deterministic=True)


@given(keys, keys, revisions, int64, st.text(max_size=20))
def test_requests_are_what_protobuf_writes(
    begin: bytes, end: bytes, revision: int, number: int, text: str
) -> None:
    """Octet by octet."""
    create = m.WatchCreateRequest(key=begin, range_end=end, start_revision=revision, progress_notify=True)
    sorting = {"sort_order": "DESCEND", "sort_target": "MOD"}
    cases = (
        (requests.one(begin, revision), m.RangeRequest(key=begin, revision=revision)),
        (requests.all_of(begin, end), m.RangeRequest(key=begin, range_end=end)),
        (
            requests.newest(begin, end, revision),
            m.RangeRequest(key=begin, range_end=end, revision=revision, limit=1, **sorting),
        ),
        (requests.grant(number), m.LeaseGrantRequest(TTL=number)),
        (requests.lease(number), m.LeaseRevokeRequest(ID=number)),
        (requests.lease(number), m.LeaseKeepAliveRequest(ID=number)),
        (requests.hanging(number), m.LeaseTimeToLiveRequest(ID=number, keys=True)),
        (requests.authenticate(text, text), m.AuthenticateRequest(name=text, password=text)),
        (requests.watch(begin, end, revision), m.WatchRequest(create_request=create)),
    )
    for written, expected in cases:
        assert written == expected.SerializeToString(deterministic=True)


@pytest.mark.parametrize(
    "method", [each for each in vars(messages).values() if isinstance(each, messages.Method)]
)
def test_every_method_is_one_of_etcds(method: messages.Method[Any]) -> None:
    """By its path, and with the answer that it gives."""
    _, answer = m.methods[method.path]
    names = {"LeaseGrantResponse": "LeaseResponse", "LeaseKeepAliveResponse": "LeaseResponse"}
    expected = answer.DESCRIPTOR.name
    assert type(method.read(b"")).__name__ == names.get(expected, expected)
