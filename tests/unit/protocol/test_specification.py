"""docs/protocol.md and the code say the same: golden bytes, numbers, tables, codes."""

from __future__ import annotations

import re
from typing import Any

import pytest

from docs.render_states import render
from rshell.channels.files import messages as files
from rshell.channels.job import messages as job
from rshell.channels.process import messages as process
from rshell.channels.shell import messages as shell
from rshell.errors import RemoteProtocolError
from rshell.protocol.codec import Message, encode_json, parse_object
from rshell.protocol.fields import Group
from rshell.protocol.frames import FrameType
from rshell.protocol.link import Event, Link
from rshell.protocol.login import ClientLogin, ServerLogin
from rshell.protocol.messages import (
    Attach,
    Attached,
    Auth,
    Goodbye,
    Hello,
    Open,
    Opened,
    Refused,
    Reset,
    Resume,
    decode_number,
    encode_number,
)
from rshell.protocol.session import Role, Session
from rshell.values import Bounds
from tests.support.commands import ROOT
from tests.support.messages import all_messages
from tests.support.wire import decode_frames, describe, frame, take

PAGE = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"^```hex (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))

# What the page says that each vector holds: type, channel and body.
VECTORS: dict[str, tuple[FrameType, int, Any]] = {
    "hello-client": (FrameType.HELLO, 0, Hello((1, 1), 262144, "rshell")),
    "hello-server": (FrameType.HELLO, 0, Hello((1, 1), 262144, "rshell", ("EXTERNAL",))),
    "auth-first": (FrameType.AUTH, 0, Auth("", mechanism="EXTERNAL")),
    "auth-step": (FrameType.AUTH, 0, Auth("r=abc,s=AAAA,i=4096")),
    "auth-done": (FrameType.AUTH, 0, Auth("", done=True, identity="ann")),
    "attach-new": (FrameType.ATTACH, 0, Attach()),
    "attach-resume": (FrameType.ATTACH, 0, Attach(Resume("s1", "first", 5))),
    "attached": (FrameType.ATTACHED, 0, Attached("s1", "second", 7)),
    "ping": (FrameType.PING, 0, {"id": 1}),
    "pong": (FrameType.PONG, 0, {"id": 1}),
    "ack": (FrameType.ACK, 0, {"received": 300}),
    "goodbye": (FrameType.GOODBYE, 0, Goodbye("done", "bye")),
    "goodbye-version": (FrameType.GOODBYE, 0, Goodbye("version", "too old", (2, 3))),
    "open": (FrameType.OPEN, 1, Open("echo", 1048576, {"upper": True})),
    "opened": (FrameType.OPENED, 1, Opened(65536, {})),
    "refused": (FrameType.REFUSED, 1, Refused("unknown-kind", "no echo here")),
    "data": (FrameType.DATA, 1, b"\x01hi\n"),
    "eof": (FrameType.EOF, 1, {}),
    "window": (FrameType.WINDOW, 1, {"bytes": 524288}),
    "message": (FrameType.MESSAGE, 1, {"name": "\udcff\u00e4"}),
    "close": (FrameType.CLOSE, 1, {}),
    "reset": (FrameType.RESET, 0x01020304, Reset("cancelled", "")),
}


def block(name: str) -> bytes:
    return bytes.fromhex(BLOCKS[name])


def encode(body: Any) -> bytes:
    if isinstance(body, bytes):
        return body
    if isinstance(body, dict):
        for key, value in body.items():
            if isinstance(value, int):
                return encode_number(key, value)
        return encode_json(body)
    assert isinstance(body, Message)
    return body.to_bytes()


def decode(frame_type: FrameType, example: Any, raw: bytes) -> Any:
    if isinstance(example, bytes):
        return raw
    if isinstance(example, dict):
        for key, value in example.items():
            if isinstance(value, int):
                return {key: decode_number(frame_type.name, key, raw, 0)}
        return parse_object(frame_type.name, raw)
    return type(example).from_bytes(raw)


@pytest.mark.parametrize("name", VECTORS)
def test_each_vector_of_the_page_is_encoded_and_decoded_as_stated(name: str) -> None:
    frame_type, channel, body = VECTORS[name]
    golden = block(name)
    assert frame(frame_type, channel, encode(body)) == golden
    ((number, its_channel, raw),) = decode_frames(golden)
    assert (number, its_channel) == (frame_type, channel)
    assert decode(frame_type, body, raw) == body


def test_the_page_has_a_vector_for_every_frame_type_and_no_unknown_one() -> None:
    assert {kind for kind, _, _ in VECTORS.values()} == set(FrameType)
    dialogue = {"dialogue-client", "dialogue-server"}
    assert set(BLOCKS) == set(VECTORS) | dialogue | {"skipped", "skipped-sequenced"}
    for name in BLOCKS:
        described = re.search(rf"(.*)\n\n```hex {name}\n", PAGE)
        assert described
        assert described[1].endswith(":"), f"{name} has no description"


@pytest.mark.parametrize(("name", "counted"), [("skipped", 0), ("skipped-sequenced", 1)])
def test_frames_of_a_later_version_are_skipped(name: str, counted: int) -> None:
    client, server, session = dialogue_ends()
    login(client, server, session)
    assert server.receive_data(block(name), 0.0) == []
    assert server.error is None
    assert session.received == counted


def dialogue_ends() -> tuple[Link, Link, Session]:
    client = Link(Role.CLIENT, Bounds(), 0.0)
    server = Link(Role.SERVER, Bounds(), 0.0, login=ServerLogin("ann"))
    return client, server, Session(Role.SERVER, Bounds(), id="s1", secret="first")


def login(client: Link, server: Link, session: Session) -> tuple[list[bytes], list[bytes]]:
    """Log in and attach; return the bytes of both ends, a piece for each turn."""
    client.log_in(ClientLogin())
    said = [take(client)]
    server.receive_data(said[0], 0.0)
    answered = [take(server)]
    client.receive_data(answered[0], 0.0)
    client.attach(Session(Role.CLIENT, Bounds()), Attach(), 0.0)
    said.append(take(client))
    server.receive_data(said[1], 0.0)
    server.accept_attach(session, Attach(), 0.0)
    answered.append(take(server))
    client.receive_data(answered[1], 0.0)
    return said, answered


def test_the_dialogue_of_the_page_is_what_two_ends_say() -> None:
    client, server, there = dialogue_ends()
    said, answered = login(client, server, there)
    here = client.session
    assert here is not None
    channel = here.open("echo", {"upper": True})

    def exchange(sender: Link, receiver: Link, pieces: list[bytes]) -> list[Event]:
        pieces.append(take(sender))
        return receiver.receive_data(pieces[-1], 0.0)

    heard = exchange(client, server, said)
    there.accept(there.channels[1])
    heard += exchange(server, client, answered)
    here.send(channel, 0, b"hi\n")
    here.send_eof(channel)
    heard += exchange(client, server, said)
    there.send(there.channels[1], 1, b"HI\n")
    there.send_message(there.channels[1], {"echoed": 3})
    there.send_eof(there.channels[1])
    heard += exchange(server, client, answered)
    here.close(channel)
    heard += exchange(client, server, said)
    heard += exchange(server, client, answered)
    client.goodbye("done", "bye")
    heard += exchange(client, server, said)

    assert b"".join(said) == block("dialogue-client")
    assert b"".join(answered) == block("dialogue-server")
    assert [describe(event) for event in heard] == [
        ("ChannelRequested", 1, "echo", {"upper": True}),
        ("ChannelOpened", 1, "echo", {}),
        ("DataReceived", 1, 0, b"hi\n"),
        ("EofReceived", 1),
        ("DataReceived", 1, 1, b"HI\n"),
        ("MessageReceived", 1, {"echoed": 3}),
        ("EofReceived", 1),
        ("ChannelClosed", 1, "NoneType", "None"),
        ("LinkClosed", "SessionClosed", "bye"),
    ]


@pytest.mark.parametrize("name", render())
def test_the_tables_of_the_page_are_those_of_the_code(name: str) -> None:
    found = re.findall(rf"<!-- states {name} -->\n(.*?)\n<!-- end -->", PAGE, re.DOTALL)
    assert found == [render()[name]], "run docs/render_states.py and paste what it prints"


# The fields of the messages. A row of the page is (keys, type, required).

# Messages whose fields stand in a table of their own, by the name in the comment above it. Those
# of a kind's other messages stand in the row of their type, those of frames in one table.
TABLES: dict[str, type[Message]] = {
    "process request": process.ProcessRequest,
    "terminal": process.Terminal,
    "process reply": process.ProcessReply,
    "exit": process.ProcessEnding,
    "shell request": shell.ShellRequest,
    "shell reply": shell.ShellReply,
    "done": shell.ShellEnding,
    "prompt": shell.ShellPrompt,
    "joined": shell.Joined,
    "errand": shell.Errand,
    "sessions request": shell.NamedShellsRequest,
    "session": shell.NamedShellInfo,
    "job request": job.JobRequest,
    "job": job.JobInfo,
    "files request": files.FilesRequest,
    "files options": files.TransferOptions,
    "files reply": files.FilesReply,
    "files attributes": files.FileAttributes,
    "files note": files.FileNote,
    "files failure": files.FileTrouble,
    "files call": files.FileCall,
    "files answer": files.CallAnswer,
    "files stat": files.FileStat,
    "files space": files.DiskSpace,
}
# Those that a sentence names: the keys are all that it shows as such.
SENTENCES: dict[type[Message], str] = {
    shell.NamedShellsEnd: r"then `end` with (.*?) \|",
    job.JobsEnd: r"then `end` with (`jobs`.*?) \|",
    job.LogEnd: r"then `end` with (`bytes`.*?), an object like",
    job.JobReply: r"the reply of OPENED has (.*?);",
}
NOT_ON_THE_WIRE = {job.JobRecord, Resume}  # a file's, and a part of ATTACH


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("|")[1:-1]]


def keys_of(text: str) -> list[str]:
    return re.findall(r"`([a-z_]+)`", text)


def declared(cls: type[Message]) -> dict[str, tuple[str, str]]:
    """Return the type and the word in the column `required` of each key of a message."""
    found: dict[str, tuple[str, str]] = {}
    for field in cls.FIELDS:
        if not isinstance(field, Group):
            found[field.key] = (field.says, "yes" if field.is_required else "no")
        elif field.build is not process.ProcessRequest:  # whose table the page refers to
            for part in field.parts:
                always = field.is_required and part.is_required
                found[part.key] = (part.says, "yes" if always else "with")
    return found


def check_rows(
    what: str, rows: dict[str, tuple[str, str]], wanted: dict[str, tuple[str, str]]
) -> None:
    assert rows.keys() == wanted.keys(), f"the table of {what}"
    for key, (says, required) in wanted.items():
        its_says, its_required = rows[key]
        if not its_says.startswith("as "):
            assert its_says == says, f"{what}: {key}"
        word = its_required.split(",")[0].split(" ")[0]
        is_conditional = word in ("with", "without", "as", "all")
        assert (
            is_conditional
            if required == "with"
            else word == required or (is_conditional and required == "no")
        ), f"{what}: {key} is {its_required} on the page"


def test_each_table_of_fields_is_the_list_of_the_code() -> None:
    tables: dict[str, dict[str, tuple[str, str]]] = {}
    pattern = r"<!-- fields (.*?) -->\n\| key \|.*\n\|---.*\n((?:\|.*\n)+)"
    for name, body in re.findall(pattern, PAGE):
        for line in body.splitlines():
            keys, says, required, _ = cells(line)
            for key in keys_of(keys):
                assert key not in tables.setdefault(name, {})
                tables[name][key] = (says, required)
    assert tables.keys() == TABLES.keys()
    for name, cls in TABLES.items():
        check_rows(name, tables[name], declared(cls))


# The types of the frames' table, which names the range as well.
_IN_FRAMES = {
    "whole number": "integer",
    "text": "string",
    "`true` or `false`": "boolean",
    "list of text": "list of strings",
    "positive number": "number",
    "object": "object",
    "[lowest, highest]": "two integers",
    "as in HELLO": "two integers",
}


def test_the_table_of_frames_is_the_list_of_the_code() -> None:
    body = re.search(r"\| frame \| key \|.*\n\|---.*\n((?:\|.*\n)+)", PAGE)
    assert body
    tables: dict[str, dict[str, tuple[str, str]]] = {}
    frames: list[str] = []
    for line in body[1].splitlines():
        frame_names, keys, says, required = cells(line)
        frames = frame_names.split(", ") if frame_names else frames
        for key in keys_of(keys):
            kind = next(kind for word, kind in _IN_FRAMES.items() if says.startswith(word))
            for its_frame in frames:
                tables.setdefault(its_frame, {})[key] = (kind, required)
    bodies = {
        type(body).LABEL: type(body) for _, _, body in VECTORS.values() if isinstance(body, Message)
    }
    numbers = {"PING": "id", "PONG": "id", "ACK": "received", "WINDOW": "bytes"}
    assert tables.keys() == bodies.keys() | numbers.keys()
    for name, key in numbers.items():
        assert tables[name] == {key: ("integer", "yes")}
    for name, cls in bodies.items():
        wanted = declared(cls)
        if cls is Attach:
            wanted["session"] = ("string", "no")
        check_rows(name, tables[name], wanted)


def test_each_message_of_a_kind_has_its_row() -> None:
    rows: dict[str, list[str]] = {}
    for line in re.findall(r"^\| `[a-z-]+` \|.*\|$", PAGE, re.MULTILINE):
        its_type, keys, *rest = cells(line)
        if len(rest) == 1:
            rows.setdefault(its_type.strip("`"), []).append(keys)
    frames = {type(body) for _, _, body in VECTORS.values() if isinstance(body, Message)}
    told = frames | NOT_ON_THE_WIRE | set(TABLES.values()) | SENTENCES.keys()
    for cls in set(all_messages()) - told:
        wanted = declared(cls)
        assert any(
            keys_of(keys) == list(wanted)
            and all(
                (f"`{key}`, optional" in keys) == (word == "no")
                for key, (_, word) in wanted.items()
            )
            for keys in rows[cls.TYPE]
        ), f"{cls.TYPE} has {rows[cls.TYPE]} on the page"
    for cls in TABLES.values():
        assert not cls.TYPE or f"`{cls.TYPE}`" in PAGE
    for cls, pattern in SENTENCES.items():
        sentence = re.search(pattern, PAGE)
        assert sentence and keys_of(sentence[1]) == list(declared(cls)), cls.__name__


def test_the_page_names_every_code_that_the_core_uses() -> None:
    used = {"version", RemoteProtocolError("").code}
    call = r'(?:goodbye|channel\.refuse|channel\.reset|link\.close)\(\s*"([a-z-]+)"'
    for source in (ROOT / "rshell").rglob("*.py"):
        text = source.read_text(encoding="utf-8")
        used |= set(re.findall(r'code="([a-z-]+)"', text))
        used |= set(re.findall(call, text))
    listed = set(re.findall(r"^\| `([a-z-]+)` \|", PAGE, re.MULTILINE))
    assert {"flood", "sequence", "window-overrun", "shutdown", "cancelled"} <= used
    assert used <= listed, used - listed


def test_the_page_states_the_limits_of_the_code() -> None:
    limits = Bounds()
    for number in (
        limits.frame_before_login,
        limits.frame,
        limits.window,
        limits.window_largest,
        limits.ack_bytes,
    ):
        assert f"{number:,}" in PAGE
