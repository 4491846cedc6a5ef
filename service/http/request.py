"""The request as handlers see it: Sanic's, with the application's context and an id that is safe to log.

The methods below are what handlers and middleware may ask of the connection. These defaults suit any server;
service/server/request.py has those of ours.
"""

import random
import re
from functools import cache
from types import SimpleNamespace
from uuid import UUID

import sanic

from service.http.context import App
from service.traces.tracer import Span

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


def new_request_id() -> str:
    return f"{random.getrandbits(128):032x}"


class RequestContext(SimpleNamespace):
    """request.ctx: what is found out about a request on its way."""

    user_id: UUID  # set by http/authenticate.py
    code: str  # of an error, set by http/error_handler.py for the access log
    reason: str  # as the code
    is_expected: bool  # set where a status of 500 or more is no fault
    span: Span  # set by http/request_traces.py


class Request(sanic.Request[App, RequestContext]):
    __slots__ = ("_own_id",)

    _own_id: str

    @staticmethod
    def make_context() -> RequestContext:
        return RequestContext()

    @property
    def id(self) -> str:
        """The client's X-Request-ID if it is safe to log, else a random one."""
        try:
            return self._own_id
        except AttributeError:
            given = self.headers.getall("x-request-id", [])
            fits = len(given) == 1 and _REQUEST_ID.fullmatch(given[0])
            self._own_id = given[0] if fits else new_request_id()
            return self._own_id

    @property
    def was_unreadable(self) -> bool:
        """Whether this is a stand-in for a request whose head was refused."""
        return False

    @property
    def pattern(self) -> str | None:
        """The path of its route, the way the documentation writes it: `/api/tasks/{task_id}`."""
        return _pattern(self.route.path) if self.route else None

    @property
    def began_at(self) -> float | None:
        """When its head arrived, by time.perf_counter()."""
        return None

    async def finish_reading(self) -> bool:
        """Before an answer that does not need the body: reads the rest of it, or the client may never see the answer.
        False if the body breaks a rule of HTTP; that is then the answer."""
        return True

    async def until_read(self) -> None:
        """Back-pressure for a streamed answer: returns when the client has taken in most of what was sent."""

    def end_without_body(self) -> None:
        """Ends a streamed answer to HEAD after its headers."""

    def cut_off(self) -> None:
        """Closes the connection in the middle of a streamed answer, so that a part is not taken for the whole."""


@cache
def _pattern(path: str) -> str:
    """From `api/tasks/<task_id:str>`."""
    return "/" + re.sub(r"<(\w+)(:\w+)?>", r"{\1}", path)
