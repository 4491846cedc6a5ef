"""The database's own tables, as the review needs them: tables with an owner, indexes, and names of types."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from service.db.admin_session import AdminConnection, rows
from service.db.statements import statement

LIST_COLUMNS = statement("review/list_columns", "many")
LIST_INDEXES = statement("review/list_indexes", "many")
LIST_OBJECTS = statement("review/list_objects", "many")
LIST_FOREIGN_KEYS = statement("review/list_foreign_keys", "many")
LIST_OPAQUE_OBJECTS = statement("review/list_opaque_objects", "many")
GET_TYPE = statement("review/get_type", "one")

Table = tuple[str, str]  # schema and name
OWNER = "user_id"


class Column(NamedTuple):
    table: Table
    name: str


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


class ForeignKey(NamedTuple):
    table_name: str
    column_names: list[str]
    parent_name: str
    parent_columns: list[str]


class SchemaObject(NamedTuple):
    kind: str  # table, partition, trigger or rule
    object_name: str
    table_name: str


@dataclass(frozen=True)
class Catalog:
    connection: AdminConnection
    schema: str  # of the service's tables
    objects: list[SchemaObject]  # of that schema
    foreign_keys: list[ForeignKey]  # of that schema
    columns: dict[tuple[int, int], Column]  # by the table's id and the column's position
    indexes: list[Index]
    opaque: set[tuple[str, str]]  # kind and name
    _types: dict[int, set[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, connection: AdminConnection) -> "Catalog":
        objects = rows(connection, LIST_OBJECTS)
        return cls(
            connection,
            next((row["schema_name"] for row in objects), ""),
            [SchemaObject(row["kind"], row["object_name"], row["table_name"]) for row in objects],
            [ForeignKey(**row) for row in rows(connection, LIST_FOREIGN_KEYS)],
            {
                (row["table_id"], row["place"]): Column((row["schema_name"], row["table_name"]), row["column_name"])
                for row in rows(connection, LIST_COLUMNS)
            },
            [Index(**row) for row in rows(connection, LIST_INDEXES)],
            {(row["kind"], row["object_name"]) for row in rows(connection, LIST_OPAQUE_OBJECTS)},
        )

    @cached_property
    def owner_position(self) -> dict[Table, int]:
        """The tables with a user_id column, and the position of that column."""
        return {column.table: place for (_, place), column in self.columns.items() if column.name == OWNER}

    def names_of_type(self, type_id: int) -> set[str]:
        """The short and the long name: timestamptz, timestamp with time zone."""
        if type_id not in self._types:
            self._types[type_id] = {
                str(name) for row in rows(self.connection, GET_TYPE, type_id=type_id) for name in row.values()
            }
        return self._types[type_id]

    def starts_with_owner(self, table: Table) -> bool:
        """Whether some index starts with user_id, so that it finds the rows of one owner."""
        return any(
            index.table == table and index.column_names[0] == OWNER and not index.is_partial for index in self.indexes
        )

    def declared_name(self, table_name: str) -> str:
        """The name in sql/tables.md: for a partition that of its table."""
        partitions = {each.object_name: each.table_name for each in self.objects if each.kind == "partition"}
        return partitions.get(table_name, table_name)

    def position(self, table: Table, name: str) -> int:
        return next(place for (_, place), column in self.columns.items() if column == Column(table, name))

    def parent_columns(self, table_name: str, key: list[str], parent_name: str) -> dict[str, str]:
        """The parent's column for each column of the foreign key. Empty if there is no such foreign key."""
        for found in self.foreign_keys:
            if (found.table_name, set(found.column_names), found.parent_name) == (table_name, set(key), parent_name):
                return dict(zip(found.column_names, found.parent_columns, strict=True))
        return {}

    def index(self, schema: str, name: str) -> Index | None:
        return next((each for each in self.indexes if (each.schema_name, each.index_name) == (schema, name)), None)
