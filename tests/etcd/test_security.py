"""Who is let in: certificates, users, roles and tokens; and what is said to who is not."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_network
from pathlib import Path

import pytest

from containernet.errors import ConfigError, ContainernetError, StoreRefused, StoreUnavailable
from containernet.events import Announced, Snapshot
from containernet_backends.etcd import EtcdStore, records
from containernet_backends.etcd.moments import Moment
from tests.waiting import wait_until

from .certificates import Authority, _openssl
from .raw import READ, READWRITE
from .readers import key, reading, route
from .server import Cluster

pytestmark = pytest.mark.etcd

MakeCluster = Callable[..., Cluster]
SUBNETS = (ip_network("10.4.1.0/24"),)


@pytest.fixture
def store() -> Iterator[Callable[[Mapping[str, object]], EtcdStore]]:
    """Opens stores that are closed with the test."""
    opened: list[EtcdStore] = []

    def opens(options: Mapping[str, object]) -> EtcdStore:
        opened.append(EtcdStore.from_options(options))
        return opened[-1]

    yield opens
    for each in opened:
        each.close()


OpenStore = Callable[[Mapping[str, object]], EtcdStore]


def test_what_is_said_about_tls(
    secure_etcd: Cluster, etcd: Cluster, authority: Authority, tmp_path: Path, store: OpenStore
) -> None:
    """Every mistake has its own line, with the next step, and none of them hangs."""
    good = {**secure_etcd.options("writer"), "endpoints": secure_etcd.urls[:1], "timeout": 5.0}
    secure, plain = secure_etcd.urls[0], etcd.urls[0]
    (tmp_path / "foreign").mkdir()
    foreign = Authority(tmp_path / "foreign").user("writer")
    expired = ended(authority, tmp_path)
    junk = tmp_path / "junk"
    junk.write_text("junk")
    without = {name: value for name, value in good.items() if name not in {"cert", "key"}}
    cases: list[tuple[dict[str, object], type[ContainernetError], str]] = [
        ({**good, "ca": str(foreign.ca)}, StoreUnavailable, "its certificate is not from ca = "),
        ({**without, "ca": ""}, StoreUnavailable, "not from a CA that this system trusts"),
        ({**good, "cert": str(foreign.cert), "key": str(foreign.key)}, StoreUnavailable, "is not accepted"),
        ({**good, "cert": str(expired)}, StoreUnavailable, "is not accepted"),
        (without, StoreUnavailable, "it wants a certificate: set cert and key"),
        ({"endpoints": [secure.replace("https", "http")]}, StoreUnavailable, "write https in endpoints"),
        ({**good, "endpoints": [plain.replace("http", "https")]}, StoreUnavailable, "write http in endpoints"),
        ({**good, "cert": str(foreign.cert)}, ConfigError, "expected a certificate and its own key"),
        ({**good, "key": str(junk)}, ConfigError, "expected a certificate and its own key"),
        ({**good, "ca": str(junk)}, ConfigError, "holds no certificate in PEM"),
        ({**good, "key": str(tmp_path / "none")}, ConfigError, "No such file"),
        ({**good, "key": str(tmp_path)}, ConfigError, "Is a directory"),
    ]
    for options, kind, line in cases:
        began = time.monotonic()
        with pytest.raises(kind) as raised:
            store(options).leases()
        assert type(raised.value) is kind, raised.value
        assert line in str(raised.value)
        assert "\n" not in str(raised.value)
        assert time.monotonic() - began < 4
    store(good).leases()


def ended(authority: Authority, directory: Path) -> Path:
    """Return a certificate of writer's key that ended yesterday."""
    request, cert = directory / "request.pem", directory / "ended.pem"
    writer = authority.user("writer")
    _openssl("req", "-new", "-key", str(writer.key), "-subj", "/CN=writer", "-out", str(request))
    signer = ("-CA", str(authority.ca), "-CAkey", str(authority.ca.with_suffix(".key")))
    _openssl("x509", "-req", "-in", str(request), *signer, "-days", "-1", "-out", str(cert))
    return cert


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "; no TLS is spoken there: write http in endpoints"),
        (b"", "; perhaps no TLS is spoken there: if so, write http in endpoints"),
        (b"\x15\x03\x03\0\2\1\0", "; perhaps no TLS is spoken there: if so, write http in endpoints"),
    ],
    ids=["other words", "nothing", "close_notify"],
)
def test_who_speaks_no_tls(answer: bytes, line: str, store: OpenStore) -> None:
    """A server may answer a ClientHello in its own words, with none, or by an alert; each has a next step."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    caller, _ = server.accept()
                except OSError:
                    return
                with caller:
                    caller.recv(1 << 16)
                    caller.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            endpoint = f"https://127.0.0.1:{server.getsockname()[1]}"
            with pytest.raises(StoreUnavailable) as raised:
                store({"endpoints": [endpoint], "timeout": 5.0}).leases()
            assert str(raised.value).endswith(line)
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_a_certificate_for_another_name(make_cluster: MakeCluster, tmp_path: Path, store: OpenStore) -> None:
    """The name in endpoints has to be in the server's certificate."""

    class Elsewhere(Authority):
        def _issue(self, name: str, extension: str):  # type: ignore[no-untyped-def]
            return super()._issue(
                name, extension.replace("IP:127.0.0.1,", "").replace("localhost", "elsewhere")
            )

    cluster = make_cluster(authority=Elsewhere(tmp_path))
    with pytest.raises(StoreUnavailable, match=r"for another name: write one of its names in endpoints"):
        store(cluster.options("root")).leases()


def test_a_certificate_is_renewed(
    secure_etcd: Cluster, authority: Authority, tmp_path: Path, store: OpenStore
) -> None:
    """New files are taken when the old ones are not good any more; nobody starts anything again."""
    (tmp_path / "foreign").mkdir()
    foreign, ours = Authority(tmp_path / "foreign").user("writer"), authority.user("writer")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_bytes(foreign.cert.read_bytes())
    key.write_bytes(foreign.key.read_bytes())
    opened = store({**secure_etcd.options("writer"), "cert": str(cert), "key": str(key)})
    with pytest.raises(StoreUnavailable, match="is not accepted"):
        opened.leases()
    cert.write_bytes(ours.cert.read_bytes())
    key.write_bytes(ours.key.read_bytes())
    opened.leases()


def test_roles_by_certificate(secure_etcd: Cluster, prefix: str, store: OpenStore) -> None:
    """The CN is the user. Who may only read, subscribes and does not claim; nobody gets out of his prefix."""
    reader = store({**secure_etcd.options("reader"), "prefix": prefix})
    subscription = reader.subscribe()
    assert isinstance(subscription.next_event(10), Snapshot)
    writer = store({**secure_etcd.options("writer"), "prefix": prefix})
    writer.announce(route(1))
    assert subscription.next_event(10) == Announced(route=route(1))
    with pytest.raises(
        StoreRefused, match=rf"permission denied; give the role of .*reader.* readwrite on {prefix}/"
    ):
        reader.claim(SUBNETS, "n1", 60)

    confined = store({**secure_etcd.options("confined"), "prefix": prefix})
    for refused in (confined.leases, confined.network, lambda: confined.announce(route(2))):
        with pytest.raises(StoreRefused, match="permission denied"):
            refused()
    with pytest.raises(StoreRefused, match="permission denied"):
        confined.subscribe().next_event(10)
    inside = store({**secure_etcd.options("confined"), "prefix": f"/confined{prefix}"})
    inside.release(inside.claim(SUBNETS, "n1", 60))


def test_the_role_of_the_manual_suffices(
    make_cluster: MakeCluster, authority: Authority, store: OpenStore
) -> None:
    """docs/operate.md names a role by its commands; with exactly that, everything works, and nothing more."""
    cluster = make_cluster(flags=[authority.jwt(ttl=60)])
    manual = Path(__file__).parents[2] / "docs" / "operate.md"
    grants = re.findall(r"grant-permission host --prefix=true readwrite (\S+)", manual.read_text())
    cluster.enable_auth({"host": [(prefix, READWRITE) for prefix in grants]})
    host = store(cluster.options("host"))
    lease = host.claim(SUBNETS, "n1", 60)
    host.announce(route(1))
    host.withdraw(route(1))
    subscription = host.subscribe()
    assert isinstance(subscription.next_event(10), Snapshot)
    host.renew(lease, 60)
    host.release(host.claim(SUBNETS, "n1", 60))
    host.reserve(SUBNETS)
    assert host.network() is None
    with pytest.raises(StoreRefused, match="permission denied; give the role of host readwrite"):
        store({**cluster.options("host"), "prefix": "/elsewhere"}).leases()


def test_a_token_is_renewed(make_cluster: MakeCluster, authority: Authority, tmp_path: Path) -> None:
    """Calls outlive the token that they began with, and so does a watch, without losing its place."""
    cluster = make_cluster(proxied=True, flags=[authority.jwt(ttl=2)])
    cluster.enable_auth({"host": [("/", READWRITE)]})
    (member,) = cluster.members

    def tell(number: int) -> None:
        told = route(number)
        with cluster.client("host") as raw:
            raw.put(key("/net", told), records.encode_route(told))

    with reading({**cluster.options("host"), "prefix": "/net"}) as (reader, client):
        wait_until_refused(cluster, str(client._token))
        assert client.get(b"/x") is None
        tell(1)
        reader.read_until(lambda: reader.routes)
        assert not reader.losses
        first = client._token
        member.proxy.refuse()
        tell(3)
        wait_until_refused(cluster, str(first))
        member.proxy.mend()
        reader.read_until(lambda: route(3).prefix in reader.routes)
        assert (client.lists, len(reader.losses), client._token == first) == (1, 1, False)

        # A watch that is refused for its token tells the truth as well, and the next one has another.
        wait_until_refused(cluster, str(client._token))
        watch = client.watch(b"/net", b"/neu", Moment(revision=1), reader._subscription._cancellation)
        with pytest.raises(StoreUnavailable, match="invalid auth token"):
            next(watch)
        assert client._token is None


def wait_until_refused(cluster: Cluster, token: str) -> None:
    """Wait until etcd does not take a token any more."""
    with cluster.client() as raw:
        raw._token = [("token", token)]

        def refused() -> bool:
            try:
                raw.get("/x")
            except Exception as error:
                return "invalid auth token" in str(error)
            return False

        wait_until(refused, what="the token ends")


def test_passwords(make_cluster: MakeCluster, authority: Authority, tmp_path: Path, store: OpenStore) -> None:
    """The file is read again when a token is needed; a wrong password is tried once for each call."""
    cluster = make_cluster(flags=[authority.jwt(ttl=60)])
    options = cluster.options()
    password = tmp_path / "password"
    password.write_text("wrong\n")
    asked = {**options, "username": "host", "password_file": str(password)}
    with pytest.raises(
        ConfigError, match="authentication is not enabled; leave username and password_file out"
    ):
        store(asked).leases()
    cluster.enable_auth({"host": [("/", READ)]})
    opened = store(asked)
    began = cluster.status(cluster.members[0]).revision
    for _ in range(2):
        with pytest.raises(
            StoreRefused, match=r"invalid user ID or password; correct username, or what is in .*password"
        ):
            opened.leases()
    assert cluster.status(cluster.members[0]).revision == began
    with pytest.raises(StoreRefused, match="set username and password_file"):
        store(options).leases()
    password.write_text("host\n")
    opened.leases()

    cluster.raw().call("Auth/UserChangePassword", name="host", password="new")
    password.write_text("new\n")
    opened.leases()  # that made the token worthless
