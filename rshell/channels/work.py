"""What runs right now on a server, so that it can stop without cutting that short.

Strategy: whoever runs something that the server should wait for says so with `begin`, and ends
the `Task` it gets. What is not said here is not waited for: an idle shell, a channel of a kind
that never ends.

Hazard: a command may begin, or its channel be opened, after the notice was given. The notice is
kept and told to them then; it is made anew each time, for it names the seconds that are left.
"""

from __future__ import annotations

from collections.abc import Callable

from rshell.channels.process.messages import Notice
from rshell.transport.channel import Channel


class Task:
    """One thing that runs. `session` is the one that would miss its end, "" if none would.

    `is_command` tells commands from what only waits for one.
    """

    def __init__(
        self, work: Work, session: str, channel: Channel | None, *, is_command: bool
    ) -> None:
        self.session = session
        self.is_command = is_command
        self._work = work
        self._channel = channel

    def __enter__(self) -> Task:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.end()

    def move(self, session: str = "", channel: Channel | None = None) -> None:
        """Note that another client is concerned, or none, and tell it what there is to tell."""
        self.session = session
        self._channel = channel
        self.tell()

    def tell(self) -> None:
        """Send the notice that was given, if one was. Lost on a channel that is not open."""
        text = self._work.notice()
        if text and self._channel is not None:
            self._channel.send_message(Notice(text).encode(), urgent=True)

    def end(self) -> None:
        """It runs no more. Harmless when it has ended."""
        self._work.forget(self)


class Work:
    """All tasks of a server. `notice` returns what every command is told, "" for nothing."""

    def __init__(self) -> None:
        self.notice: Callable[[], str] = lambda: ""
        self._tasks: dict[Task, None] = {}

    @property
    def commands(self) -> int:
        """How many commands run, jobs included."""
        return sum(task.is_command for task in self._tasks)

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs, and nobody waits for anything."""
        return not self._tasks

    def sessions(self) -> set[str]:
        """Return the sessions in which something runs."""
        return {task.session for task in self._tasks}

    def begin(
        self, session: str = "", channel: Channel | None = None, *, is_command: bool = True
    ) -> Task:
        """Note that something runs until `Task.end`; `channel` is told what there is to tell.

        The task is a context manager as well, whose block is its life.
        """
        task = Task(self, session, channel, is_command=is_command)
        self._tasks[task] = None
        task.tell()
        return task

    def notify(self, notice: Callable[[], str]) -> None:
        """Tell every command `notice()`, and those that begin later."""
        self.notice = notice
        for task in list(self._tasks):
            task.tell()

    def forget(self, task: Task) -> None:
        """Drop a task that has ended. Harmless when it was dropped."""
        self._tasks.pop(task, None)
