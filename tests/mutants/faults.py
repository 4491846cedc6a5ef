"""Single faults in a Python source, such as an off-by-one comparison, an ignored condition, an omitted call."""

import ast
from collections.abc import Iterator
from typing import NamedTuple

OPERATORS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult, ast.Div: ast.Mult,
    ast.Mod: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
}  # fmt: skip
NAMES = {"min": "max", "max": "min", "any": "all", "all": "any"}

# Names that start a type expression. A fault in an annotation or an alias has no effect at run time.
GENERIC = {"Annotated", "Awaitable", "Callable", "Coroutine", "Iterable", "Iterator", "Literal", "Mapping", "Sequence",
           "TypeVar", "cast", "dict", "frozenset", "list", "set", "tuple", "type"}  # fmt: skip
# Functions that take a message. Another wording of a log line or of an error is no fault.
WORDS = {"debug", "error", "exception", "getLogger", "info", "invalid", "warning"}


class Fault(NamedTuple):
    """Replaces the bytes from `start` to `end` of a source by `replacement`."""

    line: int
    start: int
    end: int
    replacement: str

    def planted(self, source: bytes) -> bytes:
        return source[: self.start] + self.replacement.encode() + source[self.end :]


def faults(source: bytes) -> list[Fault]:
    """All possible faults without duplicates, as far as the source still compiles with them."""
    found = dict.fromkeys(_Finder(source).found())
    return [fault for fault in found if _compiles(fault.planted(source))]


def _compiles(source: bytes) -> bool:
    try:
        compile(source, "mutant", "exec", dont_inherit=True)
    except SyntaxError:
        return False
    return True


class _Finder:
    def __init__(self, source: bytes) -> None:
        self._tree = ast.parse(source)
        self._offsets = [0]
        for line in source.splitlines(keepends=True):
            self._offsets.append(self._offsets[-1] + len(line))

    def found(self) -> Iterator[Fault]:
        for statement in self._tree.body:
            if not _is_tuning(statement):
                yield from self._in(statement)

    def _in(self, node: ast.AST, *, is_in_init: bool = False) -> Iterator[Fault]:
        if _means_nothing(node):
            return
        if isinstance(node, ast.FunctionDef):
            is_in_init = node.name == "__init__"
        if isinstance(node, ast.stmt) and not (is_in_init and isinstance(node, ast.Assign)):
            yield from self._of_statement(node)
        elif isinstance(node, ast.expr):
            for text in _other_expressions(node):
                yield self._replaced(node, f"({text})")
        for child in _children(node):
            yield from self._in(child, is_in_init=is_in_init)

    def _of_statement(self, node: ast.stmt) -> Iterator[Fault]:
        match node:
            case ast.Expr() | ast.Delete() | ast.AugAssign() | ast.Raise() | ast.Continue() | ast.Break():
                yield self._replaced(node, "pass")
            case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
                yield self._replaced(node, "pass")
            case ast.Return(value=ast.expr() as value) if not _is_none(value):
                yield self._replaced(node, "return None")
        if isinstance(node, ast.If | ast.While):
            yield from self._conditions(node.test)

    def _conditions(self, test: ast.expr) -> Iterator[Fault]:
        yield self._replaced(test, "False")
        if not _is_true(test):
            yield self._replaced(test, f"(not ({ast.unparse(test)}))")

    def _replaced(self, node: ast.stmt | ast.expr, text: str) -> Fault:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start = self._offsets[node.lineno - 1] + node.col_offset
        return Fault(node.lineno, start, self._offsets[node.end_lineno - 1] + node.end_col_offset, text)


def _other_expressions(node: ast.expr) -> Iterator[str]:  # noqa: C901 - one case for each kind of expression
    match node:
        case ast.Compare():
            for place, operator in enumerate(node.ops):
                ops = [*node.ops[:place], OPERATORS[type(operator)](), *node.ops[place + 1 :]]
                yield ast.unparse(ast.Compare(node.left, ops, node.comparators))  # type: ignore[arg-type]  # operators for comparisons are comparisons
        case ast.BoolOp():
            yield ast.unparse(ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values))
            for place in range(len(node.values)):
                yield ast.unparse(ast.BoolOp(node.op, [*node.values[:place], *node.values[place + 1 :]]))
        case ast.UnaryOp(op=ast.Not()):
            yield ast.unparse(node.operand)
        case ast.BinOp() if type(node.op) in OPERATORS:
            yield ast.unparse(ast.BinOp(node.left, OPERATORS[type(node.op)](), node.right))  # type: ignore[arg-type]  # as above
        case ast.IfExp():
            yield ast.unparse(node.body)
            yield ast.unparse(node.orelse)
        case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
            yield from _without_conditions(node)
        case ast.Name() if node.id in NAMES:
            yield NAMES[node.id]
        case ast.Constant():
            yield from _other_constants(node.value)


def _without_conditions(node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> Iterator[str]:
    for generator in node.generators:
        for condition in list(generator.ifs):
            place = generator.ifs.index(condition)
            generator.ifs.remove(condition)
            yield ast.unparse(node)
            generator.ifs.insert(place, condition)


def _other_constants(value: object) -> Iterator[str]:
    match value:
        case bool():
            yield repr(not value)
        case int():
            yield repr(value + 1)
            yield repr(value - 1)
        case str() | bytes() if value:
            yield repr(value[:-1])


def _children(node: ast.AST) -> Iterator[ast.AST]:
    """Children without types, decorators, messages of exceptions, and f-strings (Python 3.11 misplaces their parts)."""
    if isinstance(node, ast.Raise | ast.JoinedStr):
        return
    for name, value in ast.iter_fields(node):
        if name not in {"annotation", "returns", "decorator_list"}:
            values = value if isinstance(value, list) else [value]
            yield from (child for child in values if isinstance(child, ast.AST))


def _means_nothing(node: ast.AST) -> bool:
    match node:
        case ast.Expr(value=ast.Constant()) | ast.Import() | ast.ImportFrom() | ast.Assert():
            return True
        case ast.Assign(targets=[ast.Name(id="__slots__")]) | ast.AnnAssign(annotation=ast.Name(id="TypeAlias")):
            return True
        case ast.Subscript(value=ast.Name(id=name)) | ast.Call(func=ast.Name(id=name)) if name in GENERIC:
            return True
        case ast.Expr(value=ast.Call() as call) | (ast.Call() as call):
            return _name_of(call.func) in WORDS
    return False


def _name_of(function: ast.expr) -> str:
    match function:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def _is_tuning(statement: ast.stmt) -> bool:
    """Whether the statement sets a module constant that is a fraction or a product of numbers: such a constant is a
    time or a size, and a test would only repeat its value."""
    parts = list(ast.walk(statement.value)) if isinstance(statement, ast.Assign) else []
    numbers = [part.value for part in parts if isinstance(part, ast.Constant)]
    is_product = all(isinstance(part, ast.Constant | ast.BinOp | ast.Mult) for part in parts)
    return is_product and (len(numbers) > 1 or any(isinstance(number, float) for number in numbers))


def _is_none(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is None


def _is_true(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is True
