"""The lists of the contract, in Python: which tasks, and in which order. A task is the object of an answer."""

import re
from collections.abc import Callable
from typing import Any

Task = dict[str, Any]
Query = dict[str, Any]  # of httpx: a parameter that is given several times has a list

PRIORITIES = ["none", "low", "medium", "high"]
BEHIND_ALL = "~"  # in ASCII behind each digit


def due(task: Task) -> tuple[str, str]:
    return task["due_on"] or BEHIND_ALL, task["due_time"] or BEHIND_ALL


def ascending(text: str) -> tuple[int, ...]:
    return tuple(map(ord, text))


def descending(text: str) -> tuple[int, ...]:
    return tuple(-ord(character) for character in text)


def newest(task: Task) -> tuple[Any, ...]:
    return descending(task["created_at"]), descending(task["id"])


# Times of one form, ids and dates are in the order of their texts. All orders end in that of the default list.
SORTS: dict[str, Callable[[Task], tuple[Any, ...]]] = {
    "-created_at": newest,
    "created_at": lambda task: (ascending(task["created_at"]), *newest(task)),
    "-updated_at": lambda task: (descending(task["updated_at"]), *newest(task)),
    "due_on": lambda task: (due(task), *newest(task)),
    "-priority": lambda task: (-PRIORITIES.index(task["priority"]), due(task), *newest(task)),
}

FILTERS: dict[str, Callable[[Task, Any], bool]] = {
    "is_completed": lambda task, value: task["is_completed"] is (value == "true"),
    "priority": lambda task, value: task["priority"] == value,
    "tag": lambda task, values: {value.strip().lower() for value in values} <= {tag.lower() for tag in task["tags"]},
    "due_from": lambda task, value: task["due_on"] is not None and task["due_on"] >= value,
    "due_to": lambda task, value: task["due_on"] is not None and task["due_on"] <= value,
    "q": lambda task, value: any(
        value.lower() in (text or "").lower() for text in (task["title"], task["description"])
    ),
}


def is_listed(task: Task, query: Query) -> bool:
    return all(FILTERS[name](task, value) for name, value in query.items() if name in FILTERS)


def listed(tasks: list[Task], query: Query) -> list[Task]:
    """The whole list, on however many pages it is."""
    return sorted((task for task in tasks if is_listed(task, query)), key=order(query))


def order(query: Query) -> Callable[[Task], tuple[Any, ...]]:
    return SORTS[query.get("sort", "-created_at")]


def link_to_next(header: str | None) -> str | None:
    match = re.fullmatch(r'<(/api/tasks\?[!-;=?-~]+)>; rel="next"', header or "")
    return match[1] if match else None
