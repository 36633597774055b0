"""Far and slow paths in simulated time: windows find the path, and keys need not wait for it."""

from __future__ import annotations

from tests.support.rows import row
from tests.support.simulated import SimulatedPath

KIB = 1024
PLENTY = 10**12
UPLOAD = {"size": 0, "block": 1}


def test_every_size_of_blocks_reaches_the_rate_of_a_far_path_in_few_round_trips() -> None:
    delay, rate = 0.05, 40_000_000.0
    for kib in (1, 64, 100, 120, 240, 256):
        for is_upload in (False, True):
            with row(kib, is_upload):
                path = SimulatedPath(delay, rate)
                channel = path.open({"size": 0 if is_upload else PLENTY, "block": kib * KIB})
                if is_upload:
                    path.client.sources[channel.number] = PLENTY, kib * KIB
                    path.client.flush()
                begun = path.now
                path.run(begun + 11 * 2 * delay)
                receiver = path.server if is_upload else path.client
                steady = receiver.received(begun + 8 * 2 * delay)
                assert steady / (3 * 2 * delay) > 0.95 * rate


def test_an_upload_over_a_slow_link_arrives_and_keys_pass_it() -> None:
    for rate, first, later in [(4000.0, 25.0, 6.0), (20_000.0, 10.0, 6.0), (200_000.0, 5.0, 5.0)]:
        with row(rate):
            path = SimulatedPath(0.02, rate, buffer=400 * KIB)
            bulk, keys = path.open(UPLOAD), path.open(UPLOAD)
            size = int(rate * 75)
            begun = path.now
            path.client.sources[bulk.number] = size, 240 * KIB
            path.client.flush()
            waited = []
            for second in range(1, 60):
                path.run(begun + second)
                path.client.session.send(keys, 0, b"k")
                path.client.flush()
            path.run(begun + 110.0)
            assert path.client.closed_by is path.server.closed_by is None
            heard = path.server.heard[bulk.number]
            assert sum(size for _, size in heard) == size
            assert heard[-1][0] < begun + 90.0
            arrived = [at for at, size in path.server.heard[keys.number] for _ in range(size)]
            waited = [at - begun - second for second, at in enumerate(arrived, start=1)]
            assert len(waited) == 59
            assert max(waited) < first
            assert max(waited[30:]) < later


def test_a_link_that_lives_for_seconds_moves_something_forward() -> None:
    # What a slow link was given and did not move is sent again on the next one, for ever.
    path = SimulatedPath(0.02, 4000.0)
    bulk = path.open(UPLOAD)
    path.client.sources[bulk.number] = 10**6, 240 * KIB
    path.client.flush()
    path.run(path.now + 8.0)
    assert path.client.session.replay.first > 1
