"""Two sessions on links that are cut anyhow, against the simplest model: all that was said.

Strategy: hypothesis chooses what happens next, a piece of bytes at a time, and shrinks what goes
wrong. The model is the conversations themselves: what one end has heard is, after every step, the
beginning of what the other has said, and in the end all of it, once.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rshell.protocol.session import Role
from rshell.values import Bounds
from tests.support.pair import End, Pair

# So small that queues fill, windows close and budgets are spent within a few steps.
LIMITS = Bounds(
    window=3000,
    window_smallest=500,
    window_largest=8000,
    session_memory=12_000,
    channel_queue=2000,
    replay=4000,
    replay_largest=9000,
    ack_bytes=1500,
)
SIZES = st.integers(0, 6000)
ROLES = st.sampled_from(list(Role))


class CutSessions(RuleBasedStateMachine):
    """Everything that may happen to two ends, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair(LIMITS)
        self.pair.connect()
        self.pair.settle()  # a client that never learned of its session could begin another one
        self.is_joined = True
        self.conversations = 0

    def end(self, role: Role) -> End:
        return self.pair.client if role is Role.CLIENT else self.pair.server

    @precondition(lambda self: self.conversations < 6)
    @rule(role=ROLES, up=SIZES, down=SIZES, messages=st.integers(0, 5), block=st.integers(1, 900))
    def converse(self, role: Role, up: int, down: int, messages: int, block: int) -> None:
        self.conversations += 1
        seed = self.conversations
        talk = {"up": [seed, up], "down": [-seed, down], "messages": messages, "block": block}
        self.end(role).converse(talk)

    @precondition(lambda self: self.is_joined)
    @rule(role=ROLES, room=st.integers(1, 5000))
    def flush(self, role: Role, room: int) -> None:
        self.pair.room = room
        self.pair.flush(self.end(role))

    @precondition(lambda self: self.is_joined)
    @rule(role=ROLES, size=st.integers(1, 5000))
    def deliver(self, role: Role, size: int) -> None:
        self.pair.deliver(self.end(role), size)

    @precondition(lambda self: self.is_joined)
    @rule(told=st.sets(ROLES))
    def cut(self, told: set[Role]) -> None:
        self.pair.cut(told=tuple(told))
        self.is_joined = False

    @precondition(lambda self: not self.is_joined)
    @rule()
    def connect(self) -> None:
        self.pair.connect()
        self.is_joined = True

    @rule(role=ROLES)
    def stop_or_start_reading(self, role: Role) -> None:
        self.end(role).reads = not self.end(role).reads

    @precondition(lambda self: self.is_joined)
    @rule(seconds=st.floats(0, 2))
    def wait(self, seconds: float) -> None:
        self.pair.now += seconds
        for end in self.pair.ends:
            assert end.link is not None
            for event in end.link.tick(self.pair.now):
                end.handle(event, self.pair.now)

    @invariant()
    def what_was_heard_was_said(self) -> None:
        self.pair.check(complete=False)

    @invariant()
    def memory_is_bounded(self) -> None:
        for end in self.pair.ends:
            # Beyond the budget: the smallest windows, the least queues, and one frame for each.
            beyond = 6 * (LIMITS.window_smallest + LIMITS.channel_queue + 1000)
            assert -beyond <= end.session._budget.free <= LIMITS.session_memory
            assert end.session.replay.size <= end.session.replay.limit + 256 * 1024 + 4000

    def teardown(self) -> None:
        for end in self.pair.ends:
            end.reads = True
        self.pair.room = 1 << 40
        self.pair.cut()
        self.pair.connect()
        self.pair.settle()
        self.pair.check(complete=True)


TestCutSessions = CutSessions.TestCase
TestCutSessions.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None, derandomize=True
)
