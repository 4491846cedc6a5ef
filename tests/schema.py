"""migrations/schema.txt: the schema that all migrations make, read from a database that they have made."""

import shutil
import tempfile
from pathlib import Path

from service.cli import embedded_postgres
from service.db import migrations
from service.db.admin_session import connected
from service.db.schema_drift import described, schema_file, written
from tests import databases

HEAD = """\
# The schema that the migrations make; make generated writes it. migrate status and a start compare a database with it.
"""
NAMES = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' ORDER BY relname"


def text(url: str) -> str:
    """The schema of a migrated database, without yoyo's tables."""
    with connected(url) as connection:
        names = [name for (name,) in connection.execute(NAMES).fetchall()]
        return HEAD + written(described(connection, [name for name in names if "yoyo" not in name]))


def write() -> None:
    directory = Path(tempfile.mkdtemp())
    try:
        with (
            embedded_postgres.running(directory / "data") as server_url,
            databases.new_database(server_url) as url,
        ):
            migrations.apply(url)
            schema_file().write_text(text(url))
    finally:
        shutil.rmtree(directory)
