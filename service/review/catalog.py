"""The database's own tables, as the review needs them: tables with an owner, indexes, and names of types."""

from dataclasses import dataclass, field

from service.db.admin_session import AdminConnection, rows
from service.db.statements import statement

LIST_OWNED_TABLES = statement("review/list_owned_tables", "many")
LIST_INDEXES = statement("review/list_indexes", "many")
LIST_OPAQUE_OBJECTS = statement("review/list_opaque_objects", "many")
GET_TYPE = statement("review/get_type", "one")

Table = tuple[str, str]  # schema and name


@dataclass(frozen=True)
class Index:
    schema_name: str
    table_name: str
    index_name: str
    is_unique: bool
    is_partial: bool
    is_never_null: bool
    column_names: list[str | None]

    @property
    def table(self) -> Table:
        return self.schema_name, self.table_name

    @property
    def is_key(self) -> bool:
        """Whether no two rows of the table have the same values in its columns."""
        return self.is_unique and self.is_never_null and not self.is_partial


@dataclass(frozen=True)
class Catalog:
    connection: AdminConnection
    owner_position: dict[Table, int]
    indexes: list[Index]
    opaque: set[tuple[str, str]]  # kind and name
    _types: dict[int, set[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, connection: AdminConnection) -> "Catalog":
        return cls(
            connection,
            {(row["schema_name"], row["table_name"]): row["place"] for row in rows(connection, LIST_OWNED_TABLES)},
            [Index(**row) for row in rows(connection, LIST_INDEXES)],
            {(row["kind"], row["object_name"]) for row in rows(connection, LIST_OPAQUE_OBJECTS)},
        )

    def names_of_type(self, type_id: int) -> set[str]:
        """The short and the long name: timestamptz, timestamp with time zone."""
        if type_id not in self._types:
            self._types[type_id] = {
                str(name) for row in rows(self.connection, GET_TYPE, type_id=type_id) for name in row.values()
            }
        return self._types[type_id]

    def starts_with_owner(self, table: Table) -> bool:
        """Whether some index starts with user_id, so that it finds the rows of one owner."""
        return any(index.table == table and index.column_names[0] == "user_id" for index in self.indexes)

    def index(self, schema: str, name: str) -> Index | None:
        return next((each for each in self.indexes if (each.schema_name, each.index_name) == (schema, name)), None)
