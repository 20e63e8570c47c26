"""The audit log: what was asked, what was decided and why, as lines of JSON in a chain of hashes.

`chain` is the format (one record, one spelling, one hash), `reading` walks a file, `log` writes one, `verify` says in
words whether a file is what was written.

What the chain can do and what it cannot: a changed, inserted, removed or moved record breaks it, so an edit is found
by anyone who has the file alone.  Records taken off the end, and a log rewritten with all its hashes computed anew,
are found by comparing with a `Seal` (the number of records and the last hash).  The run's manifest keeps one; who can
rewrite the manifest too is found out only by a seal that was noted somewhere else: there is no secret key in here.
"""

from cosim.audit.chain import Record, Seal
from cosim.audit.log import AuditLog
from cosim.audit.reading import Condition
from cosim.audit.verify import Verdict, verify

__all__ = ["AuditLog", "Condition", "Record", "Seal", "Verdict", "verify"]
