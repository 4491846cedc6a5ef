"""The answers that are kept for idempotency keys: found by their owner and key alone, counted, and forgotten."""

from typing import Any
from uuid import UUID

import pytest

from service.db.database import LOCK_COUNTER
from service.domain.cleanup import EXPIRED_ROWS, FORGET_IDEMPOTENCY_KEYS
from service.domain.idempotency import FIND_ANSWER
from tests.sql.owners import Run, keep_answer

NOTHING = {"request_digest": None, "answer": None}
FROM_THE_START = EXPIRED_ROWS["idempotency_keys"].start


def found(run: Run, owner: UUID, key: str) -> dict[str, Any]:
    [row] = run(FIND_ANSWER, user_id=owner, key=key)
    return dict(row)


@pytest.fixture(autouse=True)
def counters(run: Run, owner: UUID, stranger: UUID) -> None:
    for user in (owner, stranger):
        run(LOCK_COUNTER, user_id=user)


def test_an_answer_is_found_by_its_owner_and_key_alone(run: Run, owner: UUID, stranger: UUID) -> None:
    keep_answer(run, owner, "key", "mine")
    keep_answer(run, stranger, "other", "theirs")

    assert found(run, owner, "key") | {"seconds_left": 0} == {
        "request_digest": b"1" * 32, "answer": "mine", "kept_bytes": 4, "seconds_left": 0,
    }  # fmt: skip
    for user, key in ((owner, "other"), (owner, "KEY"), (stranger, "key")):
        assert found(run, user, key).items() >= NOTHING.items()


def test_an_answer_whose_time_is_over_is_not_found_and_may_be_replaced(run: Run, owner: UUID) -> None:
    keep_answer(run, owner, "key", "old", hours=-1)
    assert found(run, owner, "key").items() >= NOTHING.items()

    keep_answer(run, owner, "key", "new", request_digest=b"2" * 32)
    assert found(run, owner, "key").items() >= {"request_digest": b"2" * 32, "answer": "new"}.items()


def test_the_bytes_of_a_window_add_up_and_a_new_window_begins_with_the_answer_alone(run: Run, owner: UUID) -> None:
    assert found(run, owner, "a")["seconds_left"] < 0
    keep_answer(run, owner, "a", "\u00e4\u00f6", begins_window=True)
    first = found(run, owner, "a")
    keep_answer(run, owner, "b", "12345")
    second = found(run, owner, "a")
    keep_answer(run, owner, "c", "1", begins_window=True, hours=48)
    third = found(run, owner, "a")

    assert [each["kept_bytes"] for each in (first, second, third)] == [4, 9, 1]
    assert [each["seconds_left"] for each in (first, second, third)] == [24 * 3600, 24 * 3600, 48 * 3600]


def test_keys_are_forgotten_once_their_time_is_over(run: Run, owner: UUID, stranger: UUID) -> None:
    run(FORGET_IDEMPOTENCY_KEYS, **FROM_THE_START)
    for user in (owner, stranger):
        keep_answer(run, user, "over", hours=-1)
        keep_answer(run, user, "not over", "kept")

    [forgotten] = run(FORGET_IDEMPOTENCY_KEYS, **FROM_THE_START)
    assert forgotten["deleted"] == 2
    assert [found(run, user, "not over")["answer"] for user in (owner, stranger)] == ["kept"] * 2
