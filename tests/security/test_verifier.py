"""What is asked about a token: once for all who wait, never by halves, and nothing that a revocation has overtaken."""

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


class Asked:
    """A database that answers when it is told to."""

    def __init__(self) -> None:
        self.questions: list[tuple[UUID, int]] = []
        self.answers: list[asyncio.Future[None]] = []

    async def check(self, user_id: UUID, generation: int) -> None:
        self.questions.append((user_id, generation))
        self.answers.append(asyncio.get_running_loop().create_future())
        await self.answers[-1]


def told(story: Callable[[Verifier, Asked], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        asked = Asked()

        async def nobody(*_: object) -> UUID:
            raise AssertionError

        await story(Verifier(TOKENS, IssuerTokens((), nobody), asked.check, recheck=60), asked)

    asyncio.run(run())


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock, which a test may set."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


async def waiting(user: UUID | Awaitable[UUID], asked: Asked, questions: int) -> "asyncio.Future[UUID]":
    """It waits for an answer, and so many questions were asked until now."""
    assert not isinstance(user, UUID)
    waits = asyncio.ensure_future(user)
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(asked.questions) == questions
    return waits


async def check(verifier: Verifier, asked: Asked) -> None:
    """For the first time, and the token is good."""
    first = await waiting(verifier.user_of(TOKEN), asked, 1)
    asked.answers[0].set_result(None)
    assert await first == USER


def test_all_who_wait_for_one_token_ask_once_and_later_ones_are_told_at_once() -> None:
    async def story(verifier: Verifier, asked: Asked) -> None:
        waiters = [await waiting(verifier.user_of(TOKEN), asked, 1) for _ in range(3)]
        asked.answers[0].set_result(None)

        assert await asyncio.gather(*waiters) == [USER] * 3
        assert verifier.user_of(TOKEN) == USER
        assert asked.questions == [(USER, 3)]

    told(story)


def test_a_token_that_was_verified_is_asked_about_again_in_time_and_not_verified_again(
    now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(verifier: Verifier, asked: Asked) -> None:
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

    told(story)


def test_a_token_that_is_asked_about_again_is_good_for_as_long_again(now: list[float]) -> None:
    async def story(verifier: Verifier, asked: Asked) -> None:
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

    told(story)


def test_what_was_asked_again_before_a_revocation_is_not_remembered(now: list[float]) -> None:
    async def story(verifier: Verifier, asked: Asked) -> None:
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

    told(story)


def test_a_client_that_goes_does_not_take_the_answer_away_from_the_others() -> None:
    async def story(verifier: Verifier, asked: Asked) -> None:
        gone, stays = [await waiting(verifier.user_of(TOKEN), asked, 1) for _ in range(2)]
        gone.cancel()
        await asyncio.sleep(0)
        asked.answers[0].set_result(None)

        assert await stays == USER

    told(story)


def test_a_token_that_is_refused_after_its_client_has_gone_leaves_no_complaint_of_the_event_loop() -> None:
    async def story(verifier: Verifier, asked: Asked) -> None:
        complaints: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        gone = await waiting(verifier.user_of(TOKEN), asked, 1)
        gone.cancel()
        await asyncio.wait([gone])
        asked.answers.pop().set_exception(invalid("revoked"))
        del gone
        for _ in range(5):
            await asyncio.sleep(0)
        gc.collect()  # the loop complains of an exception when its future is collected

        assert complaints == []

    told(story)


def test_what_was_asked_before_a_revocation_is_neither_remembered_nor_waited_for() -> None:
    async def story(verifier: Verifier, asked: Asked) -> None:
        before = await waiting(verifier.user_of(TOKEN), asked, 1)
        verifier.forget(USER)
        after = await waiting(verifier.user_of(TOKEN), asked, 2)

        asked.answers[0].set_result(None)
        assert await before == USER
        asked.answers[1].set_exception(invalid("revoked"))
        with pytest.raises(Problem):
            await after
        await waiting(verifier.user_of(TOKEN), asked, 3)

    told(story)


def test_a_refusal_is_told_to_all_who_wait_and_asked_for_anew() -> None:
    async def story(verifier: Verifier, asked: Asked) -> None:
        waiters = [await waiting(verifier.user_of(TOKEN), asked, 1) for _ in range(2)]
        asked.answers[0].set_exception(invalid("revoked"))

        refusals = await asyncio.gather(*waiters, return_exceptions=True)
        assert [type(refusal) for refusal in refusals] == [Problem] * 2
        await waiting(verifier.user_of(TOKEN), asked, 2)

    told(story)


def test_a_token_that_is_none_is_refused_before_anybody_is_asked() -> None:
    async def story(verifier: Verifier, asked: Asked) -> None:
        for token in ("nonsense", TOKEN[:-2], Tokens(SECRET[::-1], None, 1).issue(USER, "ann@example.com", 3)):
            with pytest.raises(Problem):
                verifier.user_of(token)
        assert asked.questions == []

    told(story)
