"""rshell: an asyncio remote shell, server and client.

    async with rshell.connect("host:7000") as client:
        done = await client.run("ls -l", check=True)

Names are imported when they are first used, so that a one-shot command and a server each load
only what they need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rshell.channels.base import Context, Handler
    from rshell.channels.job.client import JobLogs
    from rshell.channels.job.messages import JobInfo
    from rshell.channels.process.client import PIPE, CompletedProcess, Process
    from rshell.channels.shell.client import Shell, ShellLine, ShellResult
    from rshell.channels.shell.messages import CommandBegun, NamedShellInfo, ShellEnding, Skipped
    from rshell.channels.shell.named.client import ShellWatch
    from rshell.client.client import Client
    from rshell.client.connect import connect
    from rshell.errors import (
        AddressError,
        AuthenticationFailed,
        ChannelError,
        ChannelRefused,
        ChannelReset,
        ConfigurationError,
        ConnectError,
        JobLost,
        LinkLost,
        LocalProtocolError,
        OpenTimeout,
        OutputTruncated,
        ProcessError,
        ProcessFailed,
        ProcessTimeout,
        ProtocolError,
        RemoteProtocolError,
        ResumeFailed,
        RshellError,
        ServerBusy,
        ServerGone,
        SessionClosed,
        SpawnError,
        UntrustedServer,
        VersionMismatch,
    )
    from rshell.security.certificates import CertificateFiles
    from rshell.server.server import Server, serve
    from rshell.transport.channel import Channel
    from rshell.values import Address, ExitStatus, Limits, TerminalSize

_HOMES = {
    "rshell.channels.base": ("Handler", "Context"),
    "rshell.channels.job.client": ("JobLogs",),
    "rshell.channels.job.messages": ("JobInfo",),
    "rshell.channels.process.client": ("PIPE", "CompletedProcess", "Process"),
    "rshell.channels.shell.client": ("Shell", "ShellLine", "ShellResult"),
    "rshell.channels.shell.messages": ("CommandBegun", "NamedShellInfo", "ShellEnding", "Skipped"),
    "rshell.channels.shell.named.client": ("ShellWatch",),
    "rshell.client.client": ("Client",),
    "rshell.client.connect": ("connect",),
    "rshell.errors": (
        "AddressError",
        "AuthenticationFailed",
        "ChannelError",
        "ChannelRefused",
        "ChannelReset",
        "ConfigurationError",
        "ConnectError",
        "JobLost",
        "LinkLost",
        "LocalProtocolError",
        "OpenTimeout",
        "OutputTruncated",
        "ProcessError",
        "ProcessFailed",
        "ProcessTimeout",
        "ProtocolError",
        "RemoteProtocolError",
        "ResumeFailed",
        "RshellError",
        "ServerBusy",
        "ServerGone",
        "SessionClosed",
        "SpawnError",
        "UntrustedServer",
        "VersionMismatch",
    ),
    "rshell.security.certificates": ("CertificateFiles",),
    "rshell.server.server": ("Server", "serve"),
    "rshell.transport.channel": ("Channel",),
    "rshell.values": ("Address", "ExitStatus", "Limits", "TerminalSize"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__version__ = "0.1.0"
__all__ = [
    "PIPE",
    "Address",
    "AddressError",
    "AuthenticationFailed",
    "CertificateFiles",
    "Channel",
    "ChannelError",
    "ChannelRefused",
    "ChannelReset",
    "Client",
    "CommandBegun",
    "CompletedProcess",
    "ConfigurationError",
    "ConnectError",
    "Context",
    "ExitStatus",
    "Handler",
    "JobInfo",
    "JobLogs",
    "JobLost",
    "Limits",
    "LinkLost",
    "LocalProtocolError",
    "NamedShellInfo",
    "OpenTimeout",
    "OutputTruncated",
    "Process",
    "ProcessError",
    "ProcessFailed",
    "ProcessTimeout",
    "ProtocolError",
    "RemoteProtocolError",
    "ResumeFailed",
    "RshellError",
    "Server",
    "ServerBusy",
    "ServerGone",
    "SessionClosed",
    "Shell",
    "ShellEnding",
    "ShellLine",
    "ShellResult",
    "ShellWatch",
    "Skipped",
    "SpawnError",
    "TerminalSize",
    "UntrustedServer",
    "VersionMismatch",
    "connect",
    "serve",
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'rshell' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
