"""How many shared buffers a statement touches, in the cache or read into it."""

from service.db.admin_session import AdminConnection, rows
from service.db.statements import statement

COUNT_BUFFERS = statement("review/count_buffers", "one")


def touched_buffers(connection: AdminConnection) -> int:
    """The number since the transaction began. EXPLAIN (ANALYZE, BUFFERS) leaves out of its first line what a statement
    touches at its end: for foreign keys, and in a WITH that writes and that nothing reads."""
    [row] = rows(connection, COUNT_BUFFERS)
    touched: int = row["touched"]
    return touched
