"""A client's copy of the tasks of one user, which it knows by GET /api/changes alone."""

from typing import Any


class Replica:
    def __init__(self) -> None:
        self.tasks: dict[str, dict[str, Any]] = {}
        self._cursor: str | None = None
        self._newest = -1

    def wanted(self, limit: int) -> dict[str, Any]:
        """The parameters of the request for the next page."""
        return {"limit": limit} | ({"cursor": self._cursor} if self._cursor else {})

    def apply(self, page: dict[str, Any]) -> bool:
        """Whether there is another page."""
        for change in page["changes"]:
            assert change["version"] > self._newest, "a number was seen after a higher one"
            self._newest = change["version"]
            if change["task"] is None:
                self.tasks.pop(change["id"], None)
            else:
                assert change["task"]["version"] == change["version"]
                self.tasks[change["id"]] = change["task"]
        self._cursor = page["cursor"]
        more: bool = page["has_more"]
        return more
