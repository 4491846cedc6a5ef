"""Random tasks and queries of lists, in which ties, and tasks that a filter finds, are frequent."""

from typing import Any

from hypothesis import strategies as st

from tests.contract.list_model import PRIORITIES, SORTS

# In either case, where both Python and PostgreSQL know the other one, and what LIKE, JSON and addresses set apart.
CHARACTERS = "aA bBäÄøØ%_\\\"'&+?#=/😀"
WORDS = ["milk", "Milk", "MILCH", "a%b", "a_b", "\\", '"', "ä", "Ø", "x y"]
TAGS = ["work", "Work", "home", "ÄRGER", "ärger", '"quoted"', "back\\slash", "a,b", "[x]", "x y"]
DATES = ["1900-01-01", "2024-02-29", "2025-12-31", "2026-01-01", "2999-12-31"]
TIMES = ["00:00", "09:30", "23:59"]
MOMENTS = [f"2026-01-0{day}T00:00:00.00000{digit}Z" for day in (1, 2) for digit in (0, 1)]

words = st.sampled_from(WORDS) | st.text(CHARACTERS, min_size=1, max_size=3)


@st.composite
def fields(draw: st.DrawFn) -> dict[str, Any]:
    """The fields of a new task, as a client sends them."""
    due_on = draw(st.none() | st.sampled_from(DATES))
    return {
        "title": " ".join(draw(st.lists(words, min_size=1, max_size=2))).strip() or "x",
        "description": (draw(st.none() | words) or "").strip() or None,
        "due_on": due_on,
        "due_time": draw(st.none() | st.sampled_from(TIMES)) if due_on else None,
        "priority": draw(st.sampled_from(PRIORITIES)),
        "tags": draw(st.lists(st.sampled_from(TAGS), max_size=3, unique_by=str.lower)),
    }


@st.composite
def stored_tasks(draw: st.DrawFn) -> dict[str, Any]:
    """A task that is written to the database, with times that several tasks share."""
    return draw(fields()) | {
        "is_completed": draw(st.booleans()),
        "created_at": draw(st.sampled_from(MOMENTS)),
        "updated_at": draw(st.sampled_from(MOMENTS)),
    }


FILTERS: dict[str, st.SearchStrategy[Any]] = {
    "is_completed": st.sampled_from(["true", "false"]),
    "priority": st.sampled_from(PRIORITIES),
    "tag": st.lists(st.sampled_from([*TAGS, " HOME "]), min_size=1, max_size=2),
    "due_from": st.sampled_from(DATES),
    "due_to": st.sampled_from(DATES),
    "q": words,
}


@st.composite
def queries(draw: st.DrawFn) -> dict[str, Any]:
    """At most two filters, so that something is found."""
    query: dict[str, Any] = {}
    if draw(st.booleans()):
        query["sort"] = draw(st.sampled_from(sorted(SORTS)))
    for name in draw(st.lists(st.sampled_from(sorted(FILTERS)), max_size=2, unique=True)):
        query[name] = draw(FILTERS[name])
    return query
