"""The stores `etcd`: leases and routes on etcd v3, under flannel's own keys: both can be one network."""

from .options import EtcdOptions
from .store import EtcdStore

__all__ = ["EtcdOptions", "EtcdStore"]
