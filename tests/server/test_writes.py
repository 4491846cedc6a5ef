"""Socket writes are coalesced once per iteration of the event loop."""

import asyncio

from service.server.writes import ConnectionWriter, WriteQueue
from tests.server.transports import RecordingTransport


def test_writes_of_one_iteration_of_the_event_loop_are_sent_at_its_end_in_order() -> None:
    async def scenario() -> None:
        sent: list[bytes] = []
        together = WriteQueue(asyncio.get_running_loop())
        ann, bob = (ConnectionWriter(RecordingTransport(sent), together) for _ in range(2))

        for answers in ((b"bob's", b"ann's"), (b"his next", b"her next")):
            for writer, answer in zip((bob, ann), answers, strict=True):
                writer.wait_with(answer)
            assert sent == []
            await asyncio.sleep(0)
            assert sent == [*answers]
            sent.clear()

    asyncio.run(scenario())


def test_a_flushed_write_is_sent_once_and_a_closing_connection_gets_nothing() -> None:
    async def scenario() -> None:
        sent: list[bytes] = []
        together = WriteQueue(asyncio.get_running_loop())
        gone = RecordingTransport(sent)
        ann, bob, eve = (
            ConnectionWriter(transport, together)
            for transport in (RecordingTransport(sent), gone, RecordingTransport(sent))
        )

        ann.wait_with(b"ann's first")
        bob.wait_with(b"bob's")
        eve.wait_with(b"eve's")
        ann.go()
        ann.wait_with(b"ann's second")
        gone.has_gone = True
        await asyncio.sleep(0)

        assert sent == [b"ann's first", b"ann's second", b"eve's"]

    asyncio.run(scenario())
