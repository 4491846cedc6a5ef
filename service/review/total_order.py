"""A list with a LIMIT must have a total order: two rows must never change places between two requests."""

from collections.abc import Iterator
from typing import Any

from postgast import unwrap_node
from postgast.pg_query_pb2 import (
    AND_EXPR,
    LIMIT_OPTION_COUNT,
    SETOP_NONE,
    A_Const,
    A_Expr,
    BoolExpr,
    ColumnRef,
    JoinExpr,
    ParamRef,
    RangeFunction,
    RangeSubselect,
    RangeVar,
    ResTarget,
    SelectStmt,
)

from service.review.catalog import Catalog
from service.review.reviewed import Reviewed, ReviewFinding
from service.review.static_rules import is_cut

Column = tuple[str, str]  # the table's name or alias ("" if the statement gives none), and the column's name

ORDINALITY = "ordinality"

NOT_TOTAL = "the ORDER BY of a LIMIT must be total: with the columns bound by =, it must hold a unique key"


def check(reviewed: Reviewed, catalog: Catalog) -> Iterator[ReviewFinding]:
    for select in reviewed.nodes(SelectStmt):
        if is_cut(select) and select.sort_clause and not _is_total(select, catalog):
            yield reviewed.finding(NOT_TOTAL, _location(select))


def _is_total(select: SelectStmt, catalog: Catalog) -> bool:
    outputs = _outputs(select)
    ordered = set(_ordered(select, outputs))
    if outputs and all(ordered.intersection(_names(output)) for output in outputs):
        return True  # rows that are equal in every column may change places
    if select.op != SETOP_NONE:
        return False
    groups = [unwrap_node(each) for each in [*select.group_clause, *select.distinct_clause] if each.WhichOneof("node")]
    if groups:
        return all(ordered.intersection(_key_columns(group, outputs)) for group in groups)
    if select.distinct_clause:
        return False
    sources = [source for item in select.from_clause for source in _sources(unwrap_node(item))]
    fixed = ordered | set(_bound(unwrap_node(select.where_clause)))
    return bool(sources) and all(_is_decided(source, fixed, catalog) for source in sources)


def _outputs(select: SelectStmt) -> list[ResTarget]:
    """The output columns. In a UNION the first SELECT names them."""
    while select.op != SETOP_NONE:
        select = select.larg
    return [target.res_target for target in select.target_list]


def _ordered(select: SelectStmt, outputs: list[ResTarget]) -> Iterator[Column]:
    for each in select.sort_clause:
        yield from _key_columns(unwrap_node(each.sort_by.node), outputs)


def _key_columns(key: Any, outputs: list[ResTarget]) -> Iterator[Column]:
    """The columns of a sort key: an output's number, an output's name (which takes precedence), or a column."""
    if isinstance(key, A_Const) and 1 <= key.ival.ival <= len(outputs):
        yield from _names(outputs[key.ival.ival - 1])
    elif isinstance(key, ColumnRef):
        named = [output for output in outputs if output.name and _column(key) == ("", output.name)]
        for output in named:
            yield from _names(output)
        if not named:
            yield _column(key)


def _names(output: ResTarget) -> Iterator[Column]:
    value = unwrap_node(output.val)
    if isinstance(value, ColumnRef):
        yield _column(value)
    elif output.name:
        yield "an output", output.name  # an expression: no unique key contains it


def _bound(condition: Any) -> Iterator[Column]:
    """The columns that the condition fixes to one value, by `= $1` or `= constant`."""
    if isinstance(condition, BoolExpr) and condition.boolop == AND_EXPR:
        for argument in condition.args:
            yield from _bound(unwrap_node(argument))
    elif isinstance(condition, A_Expr) and [name.string.sval for name in condition.name] == ["="]:
        sides = [unwrap_node(condition.lexpr), unwrap_node(condition.rexpr)]
        for column, value in (sides, sides[::-1]):
            if isinstance(column, ColumnRef) and isinstance(value, ParamRef | A_Const):
                yield _column(column)


def _sources(item: Any) -> Iterator[Any]:
    """The tables, functions and sub-selects of a FROM item."""
    if isinstance(item, JoinExpr):
        yield from _sources(unwrap_node(item.larg))
        yield from _sources(unwrap_node(item.rarg))
    else:
        yield item


def _is_decided(source: Any, fixed: set[Column], catalog: Catalog) -> bool:
    """Whether the fixed columns hold a unique key of it. A sub-select with LIMIT 1 needs none: it has one row at most.
    The unique keys of other sub-selects and functions are not known."""
    if isinstance(source, RangeVar):
        return _has_key(source, fixed, catalog)
    if isinstance(source, RangeFunction):
        return source.ordinality and _is_numbered(source, fixed)
    return isinstance(source, RangeSubselect) and _has_one_row(unwrap_node(source.subquery))


def _is_numbered(function: RangeFunction, fixed: set[Column]) -> bool:
    """By WITH ORDINALITY, under the name that the server gives to that column: another name could be of any column."""
    renamed = {unwrap_node(name).sval for name in function.alias.colnames}
    names = {("", ORDINALITY), (function.alias.aliasname, ORDINALITY)}
    return ORDINALITY not in renamed and not names.isdisjoint(fixed)


def _has_one_row(select: SelectStmt) -> bool:
    limit = unwrap_node(select.limit_count) if select.HasField("limit_count") else None
    return isinstance(limit, A_Const) and limit.ival.ival == 1 and select.limit_option == LIMIT_OPTION_COUNT


def _has_key(table: RangeVar, fixed: set[Column], catalog: Catalog) -> bool:
    here = {column for name, column in fixed if name in {"", table.alias.aliasname or table.relname}}
    keys = [set(index.column_names) for index in catalog.indexes if index.is_key and index.table_name == table.relname]
    return any(key <= here for key in keys)


def _column(column: ColumnRef) -> Column:
    names = [field.string.sval for field in column.fields]
    return (names[-2] if len(names) > 1 else "", names[-1])


def _location(select: SelectStmt) -> int | None:
    key = unwrap_node(select.sort_clause[0].sort_by.node)
    place: int | None = key.location if isinstance(key, ColumnRef | A_Const) else None
    return place
