"""Database checks of a token: shared by concurrent requests, finished once begun, not cached across a revocation."""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any
from uuid import UUID, uuid4

import pytest

from service.auth.claims import invalid
from service.auth.issuer_tokens import IssuerTokens
from service.auth.tokens import Tokens
from service.auth.verifier import Verifier
from service.errors import Problem
from tests.support import SECRET

USER = uuid4()
TOKENS = Tokens(SECRET, None, 1)
TOKEN = TOKENS.issue(USER, "ann@example.com", 3)


class DatabaseCheck:
    """Replaces the database check: records each question, and answers when the test sets its future."""

    def __init__(self) -> None:
        self.questions: list[tuple[UUID, int]] = []
        self.answers: list[asyncio.Future[None]] = []

    async def check(self, user_id: UUID, generation: int) -> None:
        self.questions.append((user_id, generation))
        self.answers.append(asyncio.get_running_loop().create_future())
        await self.answers[-1]


def run_scenario(scenario: Callable[[Verifier, DatabaseCheck], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        asked = DatabaseCheck()

        async def find_no_user(*_: object) -> UUID:
            raise AssertionError

        await scenario(Verifier(TOKENS, IssuerTokens((), find_no_user), asked.check, recheck=60), asked)

    asyncio.run(run())


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A monotonic clock that the test sets."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


async def waiting(user: UUID | Awaitable[UUID], asked: DatabaseCheck, questions: int) -> "asyncio.Future[UUID]":
    """Starts the check and asserts the number of questions asked so far."""
    assert not isinstance(user, UUID)
    waits = asyncio.ensure_future(user)
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(asked.questions) == questions
    return waits


async def check(verifier: Verifier, asked: DatabaseCheck) -> None:
    """Runs the first check of the token, which succeeds."""
    first = await waiting(verifier.user_of(TOKEN), asked, 1)
    asked.answers[0].set_result(None)
    assert await first == USER


def test_concurrent_requests_with_one_token_share_one_check_and_later_ones_hit_the_cache() -> None:
    async def scenario(verifier: Verifier, asked: DatabaseCheck) -> None:
        waiters = [await waiting(verifier.user_of(TOKEN), asked, 1) for _ in range(3)]
        asked.answers[0].set_result(None)

        assert await asyncio.gather(*waiters) == [USER] * 3
        assert verifier.user_of(TOKEN) == USER
        assert asked.questions == [(USER, 3)]

    run_scenario(scenario)


def test_cached_token_is_rechecked_after_recheck_seconds_and_not_verified_again(
    now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(verifier: Verifier, asked: DatabaseCheck) -> None:
        await check(verifier, asked)
        monkeypatch.setattr(Tokens, "verify", None)

        now[0] = 1059.9
        assert verifier.user_of(TOKEN) == USER
        now[0] = 1060.0
        again = await waiting(verifier.user_of(TOKEN), asked, 2)
        asked.answers[1].set_exception(invalid("revoked"))
        with pytest.raises(Problem):
            await again
        await waiting(verifier.user_of(TOKEN), asked, 3)
        assert asked.questions == [(USER, 3)] * 3

    run_scenario(scenario)


def test_rechecked_token_stays_good_for_recheck_seconds_after_the_recheck_began(now: list[float]) -> None:
    async def scenario(verifier: Verifier, asked: DatabaseCheck) -> None:
        await check(verifier, asked)

        now[0] = 1070.0
        again = await waiting(verifier.user_of(TOKEN), asked, 2)
        now[0] = 1075.0
        asked.answers[1].set_result(None)
        assert await again == USER

        now[0] = 1129.9
        assert verifier.user_of(TOKEN) == USER
        now[0] = 1130.0
        await waiting(verifier.user_of(TOKEN), asked, 3)

    run_scenario(scenario)


def test_recheck_that_began_before_a_revocation_is_not_cached(now: list[float]) -> None:
    async def scenario(verifier: Verifier, asked: DatabaseCheck) -> None:
        await check(verifier, asked)

        now[0] = 1060.0
        before = await waiting(verifier.user_of(TOKEN), asked, 2)
        verifier.forget(USER)
        asked.answers[1].set_result(None)
        assert await before == USER
        after = await waiting(verifier.user_of(TOKEN), asked, 3)
        asked.answers[2].set_exception(invalid("revoked"))
        with pytest.raises(Problem):
            await after

    run_scenario(scenario)


def test_cancelled_request_does_not_cancel_the_check_that_others_wait_for() -> None:
    async def scenario(verifier: Verifier, asked: DatabaseCheck) -> None:
        gone, stays = [await waiting(verifier.user_of(TOKEN), asked, 1) for _ in range(2)]
        gone.cancel()
        await asyncio.sleep(0)
        asked.answers[0].set_result(None)

        assert await stays == USER

    run_scenario(scenario)


def test_refusal_after_the_client_has_left_causes_no_event_loop_error() -> None:
    async def scenario(verifier: Verifier, asked: DatabaseCheck) -> None:
        complaints: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        gone = await waiting(verifier.user_of(TOKEN), asked, 1)
        gone.cancel()
        await asyncio.wait([gone])
        asked.answers.pop().set_exception(invalid("revoked"))
        del gone
        for _ in range(5):
            await asyncio.sleep(0)
        gc.collect()  # the loop reports an unretrieved exception when its future is collected

        assert complaints == []

    run_scenario(scenario)


def test_check_that_began_before_a_revocation_is_neither_cached_nor_shared() -> None:
    async def scenario(verifier: Verifier, asked: DatabaseCheck) -> None:
        before = await waiting(verifier.user_of(TOKEN), asked, 1)
        verifier.forget(USER)
        after = await waiting(verifier.user_of(TOKEN), asked, 2)

        asked.answers[0].set_result(None)
        assert await before == USER
        asked.answers[1].set_exception(invalid("revoked"))
        with pytest.raises(Problem):
            await after
        await waiting(verifier.user_of(TOKEN), asked, 3)

    run_scenario(scenario)


def test_refusal_reaches_all_concurrent_requests_and_is_not_cached() -> None:
    async def scenario(verifier: Verifier, asked: DatabaseCheck) -> None:
        waiters = [await waiting(verifier.user_of(TOKEN), asked, 1) for _ in range(2)]
        asked.answers[0].set_exception(invalid("revoked"))

        refusals = await asyncio.gather(*waiters, return_exceptions=True)
        assert [type(refusal) for refusal in refusals] == [Problem] * 2
        await waiting(verifier.user_of(TOKEN), asked, 2)

    run_scenario(scenario)


def test_malformed_or_forged_token_is_refused_without_asking_the_database() -> None:
    async def scenario(verifier: Verifier, asked: DatabaseCheck) -> None:
        for token in ("nonsense", TOKEN[:-2], Tokens(SECRET[::-1], None, 1).issue(USER, "ann@example.com", 3)):
            with pytest.raises(Problem):
                verifier.user_of(token)
        assert asked.questions == []

    run_scenario(scenario)
