"""Links by a way in, to machines where nothing is installed; see reach/stage.py.

The bundle is built once in a process. A session goes on where its way in was cut: the next link is
dialled by the same way, and nobody is asked for a password meanwhile.

Hazard: whoever answers may be anybody. What is said is bounded, checked, and shown as text that
acts on no terminal.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
from functools import lru_cache, partial
from typing import Any, Optional

from rshell.aio import readable, timeout, writable
from rshell.client.child import ChildLink, Words, quote
from rshell.errors import ConnectError, OpenTimeout
from rshell.execution.running_process import ExitWatch
from rshell.reach.bundle import build_bundle, identify
from rshell.reach.stage import Answers, script, wanted
from rshell.reach.start import start_way
from rshell.reach.ways import Way
from rshell.terminal.output import printable
from rshell.transport.live_session import LiveSession
from rshell.values import Bounds

_BLOCK = 65536
_SHOWN = 300  # characters of what was said instead of an answer


@lru_cache(maxsize=1)
def bundle() -> tuple[str, bytes]:
    """Return the name of the server side that we send, and its bytes."""
    data = build_bundle()
    return identify(data), data


class WayIn:
    """Opens links by a way in. `facts` is what the far side said of itself at the last one."""

    def __init__(self, way: Way, limits: Bounds, *, background: bool) -> None:
        self.facts: dict[str, Any] = {}
        self._way = way
        self._limits = limits
        self._wanted = {"do": "serve", "background": background}

    @property
    def notice(self) -> str:
        """What people should know of it; "" if nothing."""
        if self.facts.get("background") or not self._wanted["background"]:
            return ""
        why = printable(str(self.facts.get("why")))
        return f"no background server can run there ({why}): a cut link ends the session"

    async def open(self, live: Optional[LiveSession] = None) -> ChildLink:
        """Return an attached link, which carries `live` on where that is given.

        Raises ConnectError.
        """
        return await ChildLink.open(
            self._way.argv,
            self._limits,
            live,
            is_kept=bool(self._wanted["background"]),
            talk=self._talk,
            words=Words(self._way.name, is_shown=live is None),
            start=partial(start_way, self._way, again=live is not None),
        )

    async def _talk(self, popen: subprocess.Popen[bytes]) -> bytes:
        """Bring the server over there to serve on this program's stdio; return its first bytes."""
        conversation = Conversation(popen, self._way.name)
        self.facts = await conversation.begin(self._wanted)
        return conversation.rest


async def look_after(way: Way, what: str, limits: Bounds) -> dict[str, Any]:
    """Have the far side "look" at what it has, or "stop" and clean up; return what it says.

    Raises ConnectError. Cancelling ends the way in.
    """
    popen = start_way(way)
    loop = asyncio.get_running_loop()
    exited = asyncio.Event()
    watch = ExitWatch(loop, popen, lambda _: exited.set())
    words = Words(way.name)
    words.listen(popen)
    try:
        async with timeout(limits.open_timeout):
            try:
                facts = await Conversation(popen, way.name).begin({"do": what})
            except EOFError as error:
                await exited.wait()
                raise words.explain(popen.wait(), str(error)) from error
            await exited.wait()
    except TimeoutError as error:
        raise OpenTimeout(
            f"{way.name} did not answer within {limits.open_timeout:g} s",
            timeout=limits.open_timeout,
        ) from error
    finally:
        watch.close()
        words.close()
        popen.kill()
        popen.wait()
        for pipe in (popen.stdin, popen.stdout):
            assert pipe is not None
            pipe.close()
    return facts


class Conversation:
    """What is said on the stdio of a way in before there are frames."""

    def __init__(self, popen: subprocess.Popen[bytes], name: str) -> None:
        assert popen.stdin is not None and popen.stdout is not None
        self._stdin, self._stdout = popen.stdin.fileno(), popen.stdout.fileno()
        self._name = name
        self._word = f"rshell-{secrets.token_hex(8)}"
        self._answers = Answers(self._word)

    @property
    def rest(self) -> bytes:
        """What came behind the last answer."""
        return self._answers.rest

    async def begin(self, what: dict[str, Any]) -> dict[str, Any]:
        """Say what is wanted, and send the bundle if it is not there; return the last answer.

        Raises ConnectError, and EOFError with what came instead of an answer.
        """
        name, data = bundle()
        await self._write(script(self._word, name))
        ready = await self._answer("ready")
        sent = b"" if ready.get("there") else data
        await self._write(wanted(what, len(sent)) + sent)
        return {**ready, **await self._answer("serving")}

    async def _answer(self, kind: str) -> dict[str, Any]:
        found = self._answers.feed(b"")
        while found is None:
            data = await self._read()
            if not data:
                raise EOFError(self._answers.rest.decode(errors="replace").strip()[-_SHOWN:])
            found = self._answers.feed(data)
        said, facts = found
        if said == "none":
            pythons = " ".join(map(str, facts)).split() if isinstance(facts, list) else []
            raise ConnectError(
                f"{self._name} has no Python 3.9 or later (there is "
                f"{quote(', '.join(pythons)) or 'none at all'}). Install one there: rshell needs "
                "no more."
            )
        if not isinstance(facts, dict):
            facts = {}
        if said == "failed":
            why = quote(str(facts.get("why")))
            raise ConnectError(f"the server can't start at {self._name}: {why}")
        if said != kind:
            raise ConnectError(f"{self._name} answered {quote(said)!r} where {kind!r} was to come")
        return facts

    async def _read(self) -> bytes:
        await readable(self._stdout)
        return os.read(self._stdout, _BLOCK)

    async def _write(self, data: bytes) -> None:
        os.set_blocking(self._stdin, False)
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._stdin, view) :]
            except BlockingIOError:
                await writable(self._stdin)
            except BrokenPipeError:
                return  # what it has said says more
