"""The SHA-256 of each migration's file, kept in migration_checksums when it is applied."""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from service.db.admin_session import AdminConnection, rows
from service.db.statements import statement

LIST_CHECKSUMS = statement("migrations/list_checksums", "many")
RECORD_CHECKSUMS = statement("migrations/record_checksums", "many")


def of_file(file: Path) -> str:
    return sha256(file.read_bytes()).hexdigest()


def kept(connection: AdminConnection) -> dict[str, str]:
    return {row["migration_id"]: row["sha256"] for row in rows(connection, LIST_CHECKSUMS)}


def keep(connection: AdminConnection, files: Mapping[str, Path], just_applied: str | None = None) -> None:
    """Keeps the checksum of `just_applied`, and of every other file that has none: 0001 to 0010 are older than the
    table."""
    known = kept(connection)
    missing = [migration_id for migration_id in files if migration_id == just_applied or migration_id not in known]
    checksums = [of_file(files[migration_id]) for migration_id in missing]
    rows(connection, RECORD_CHECKSUMS, migration_ids=missing, checksums=checksums)
