"""How values show themselves, held against attrs' own way."""

from __future__ import annotations

import subprocess
import sys
from ipaddress import ip_network

import attrs

from containernet.values import shown


class Place:
    """Where a class has a name of two words."""

    @attrs.frozen(kw_only=True)
    class Value:
        """As attrs shows it."""

        number: int
        text: str = "it's"
        hidden: int = attrs.field(default=1, repr=False)
        derived: object = attrs.field(init=False, default=ip_network("10.0.0.0/8"))


Theirs = Place.Value


def test_a_value_shows_itself_as_attrs_shows_it() -> None:
    """Nested or local, with what is hidden and what is derived; without any field, too."""

    class Other:
        """The same words once more."""

        @attrs.frozen(kw_only=True)
        class Value:
            """As we show it."""

            number: int
            text: str = "it's"
            hidden: int = attrs.field(default=1, repr=False)
            derived: object = attrs.field(init=False, default=ip_network("10.0.0.0/8"))
            __repr__ = shown

    @attrs.frozen
    class Empty:
        """Nothing in it."""

    assert repr(Other.Value(number=1)).replace("Other", "Place") == repr(Theirs(number=1))
    assert shown(Theirs(number=2)) == repr(Theirs(number=2))
    assert shown(Empty()) == repr(Empty())


def test_no_class_of_a_start_has_a_compiled_repr() -> None:
    """Compiling them was a third of what attrs takes, and nobody calls them in a start."""
    script = (
        "import sys, attrs, containernet.serving\n"
        "from containernet import loading\n"
        "loading.lease_store('etcd', {'endpoints': ['http://127.0.0.1:1']}).close()\n"
        "loading.kernel('netlink', {}).close()\n"
        "[loading.remote_dataplane(name, {}) for name in ('host-gw', 'ipip', 'vxlan')]\n"
        "loading.local_dataplane('bridge', {})\n"
        "ours = [module for name, module in sys.modules.items() if name.startswith('containernet')]\n"
        "made = {each for module in ours for each in vars(module).values() if attrs.has(each)}\n"
        "assert len(made) > 50\n"
        "print(*[each.__qualname__ for each in made if '<attrs' in each.__repr__.__code__.co_filename])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
