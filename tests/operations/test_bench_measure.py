"""A benchmark run is repeated where one process of the peer had most of the connections."""

import os
import socket
import sys
from pathlib import Path

import pytest

from tests import processes
from tests.bench.database import Database, Server
from tests.bench.measure import TRIES, Measuring, Target
from tests.bench.results import Run
from tests.bench.routes import LIST_20, Route

TARGET = Target(1, 8000, Database(Server(5432, 1), "few", 10_000))


class MeasuringWithShares(Measuring):
    """Measures a simulated peer: the busiest process has these shares of the connections, run by run."""

    def __init__(self, *shares: float | None) -> None:
        super().__init__(Path())
        self.left = list(shares)

    def _run(self, peer: str, _: Target, route: Route, connections: int, seconds: int, number: int) -> Run:
        return Run(peer, route.name, connections, number, 100, seconds, 0, largest_share=self.left.pop(0))


@pytest.mark.parametrize(
    ("connections", "shares", "kept"),
    [
        (32, [0.5, 1.0], 0.5),
        (32, [0.75, 1.0], 0.75),
        (32, [0.76, 1.0, 0.5, 1.0], 0.5),
        (32, [None, 1.0], None),
        (32, [1.0] * TRIES + [0.5], 1.0),
        (1, [1.0, 0.5], 1.0),
    ],
)
def test_a_run_with_most_connections_at_one_process_is_repeated(
    connections: int, shares: list[float | None], kept: float | None
) -> None:
    run = MeasuringWithShares(*shares).run("plans", TARGET, LIST_20, connections, 2, 3)

    assert run == Run("plans", "list-20", connections, 3, 100, 2, 0, largest_share=kept)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_connections_to_a_port_are_counted_for_each_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert processes.connections(os.getpid(), port) == []

        clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
        accepted = [server.accept()[0] for _ in clients]
        assert processes.connections(os.getpid(), port) == [3]

        for each in (*clients, *accepted):
            each.close()
        assert processes.connections(os.getpid(), port) == []
