"""How far a cluster was when it answered, and whether another answer can be a later one of the same history.

Whoever has a list, a view or a lease goes on from there only while etcd's past is the one that they are from.
A restored backup is another past. Every answer tells three things that in one history never go back, and that
cost nothing to compare: the id of the cluster, which is another one if it was restored under another token or
other peer URLs; raft's term, which a restored cluster counts anew, while one that has lived has seen elections;
and the revision, until the new past has outgrown the old.

So of two linearizable answers, one asked for after the other had come, the later one `follows`. A watch is no
such answer: there a member may also be behind.

Pure.
"""

from __future__ import annotations

from typing import Self

import attrs

from containernet.values import shown

from .messages import ResponseHeader


@attrs.frozen(kw_only=True)
class Moment:
    """A point in the history of a cluster.

    Args:
        cluster: the cluster's id; 0: none has answered yet, which every moment follows.
        term: raft's, of the last entry that had been applied; 0: none since the member was started.
        revision: of the last change.
    """

    cluster: int = 0
    term: int = 0
    revision: int = 0
    __repr__ = shown

    @classmethod
    def of(cls, header: ResponseHeader) -> Self:
        """Return the moment of an answer."""
        return cls(cluster=header.cluster_id, term=header.raft_term, revision=header.revision)

    def follows(self, earlier: Moment) -> bool:
        """Return whether this can be the same history, no earlier."""
        return (
            earlier.cluster in {0, self.cluster}
            and (not self.term or self.term >= earlier.term)
            and self.revision >= earlier.revision
        )

    def __str__(self) -> str:
        return f"revision {self.revision} in term {self.term} of cluster {self.cluster:x}"
