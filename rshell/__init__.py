"""rshell: an asyncio remote shell, server and client.

    async with rshell.connect("host:7000") as client:
        done = await client.run("ls -l", check=True)

Names are imported when they are first used, so that a one-shot command and a server each load
only what they need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "rshell.channels.base": "Context Handler",
    "rshell.channels.files.messages": "FileStat",
    "rshell.channels.files.progress": "FileEvent TransferTotals",
    "rshell.channels.files.remote": "RemoteFiles",
    "rshell.channels.files.remote_file": "RemoteFile",
    "rshell.channels.job.client": "JobLogs",
    "rshell.channels.job.messages": "JobInfo",
    "rshell.channels.process.client": "PIPE CompletedProcess Process",
    "rshell.channels.shell.client": "ShellLine",
    "rshell.channels.shell.messages": "CommandBegun NamedShellInfo ShellEnding Skipped",
    "rshell.channels.shell.named.client": "ShellWatch",
    "rshell.channels.shell.replies": "Shell ShellResult",
    "rshell.client.client": "Client",
    "rshell.channels.shell.errands.client": "ErrandItem ErrandPlan",
    "rshell.client.connect": "connect",
    "rshell.errors": (
        "AddressError AuthenticationFailed ChannelError ChannelRefused ChannelReset "
        "ConfigurationError ConnectError FileError FileForbidden FileInTheWay FileMissing JobLost "
        "LinkLost LocalProtocolError NotADirectory NotAFile OpenTimeout "
        "OutputTruncated ProcessError ProcessFailed ProcessTimeout ProtocolError "
        "RemoteProtocolError ResumeFailed RshellError ServerBusy SessionClosed "
        "SpawnError TransferFailed UntrustedServer VersionMismatch"
    ),
    "rshell.security.certificates": "CertificateFiles",
    "rshell.server.server": "Server",
    "rshell.server.start": "serve",
    "rshell.transport.channel": "Channel",
    "rshell.values": "Address ExitStatus Limits TerminalSize",
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names.split()}

if TYPE_CHECKING:  # which is all that type checkers see of the names
    from rshell.channels.base import Context as Context
    from rshell.channels.base import Handler as Handler
    from rshell.channels.files.messages import FileStat as FileStat
    from rshell.channels.files.progress import FileEvent as FileEvent
    from rshell.channels.files.progress import TransferTotals as TransferTotals
    from rshell.channels.files.remote import RemoteFiles as RemoteFiles
    from rshell.channels.files.remote_file import RemoteFile as RemoteFile
    from rshell.channels.job.client import JobLogs as JobLogs
    from rshell.channels.job.messages import JobInfo as JobInfo
    from rshell.channels.process.client import PIPE as PIPE
    from rshell.channels.process.client import CompletedProcess as CompletedProcess
    from rshell.channels.process.client import Process as Process
    from rshell.channels.shell.client import ShellLine as ShellLine
    from rshell.channels.shell.errands.client import ErrandItem as ErrandItem
    from rshell.channels.shell.errands.client import ErrandPlan as ErrandPlan
    from rshell.channels.shell.messages import CommandBegun as CommandBegun
    from rshell.channels.shell.messages import NamedShellInfo as NamedShellInfo
    from rshell.channels.shell.messages import ShellEnding as ShellEnding
    from rshell.channels.shell.messages import Skipped as Skipped
    from rshell.channels.shell.named.client import ShellWatch as ShellWatch
    from rshell.channels.shell.replies import Shell as Shell
    from rshell.channels.shell.replies import ShellResult as ShellResult
    from rshell.client.client import Client as Client
    from rshell.client.connect import connect as connect
    from rshell.errors import AddressError as AddressError
    from rshell.errors import AuthenticationFailed as AuthenticationFailed
    from rshell.errors import ChannelError as ChannelError
    from rshell.errors import ChannelRefused as ChannelRefused
    from rshell.errors import ChannelReset as ChannelReset
    from rshell.errors import ConfigurationError as ConfigurationError
    from rshell.errors import ConnectError as ConnectError
    from rshell.errors import FileError as FileError
    from rshell.errors import FileForbidden as FileForbidden
    from rshell.errors import FileInTheWay as FileInTheWay
    from rshell.errors import FileMissing as FileMissing
    from rshell.errors import JobLost as JobLost
    from rshell.errors import LinkLost as LinkLost
    from rshell.errors import LocalProtocolError as LocalProtocolError
    from rshell.errors import NotADirectory as NotADirectory
    from rshell.errors import NotAFile as NotAFile
    from rshell.errors import OpenTimeout as OpenTimeout
    from rshell.errors import OutputTruncated as OutputTruncated
    from rshell.errors import ProcessError as ProcessError
    from rshell.errors import ProcessFailed as ProcessFailed
    from rshell.errors import ProcessTimeout as ProcessTimeout
    from rshell.errors import ProtocolError as ProtocolError
    from rshell.errors import RemoteProtocolError as RemoteProtocolError
    from rshell.errors import ResumeFailed as ResumeFailed
    from rshell.errors import RshellError as RshellError
    from rshell.errors import ServerBusy as ServerBusy
    from rshell.errors import SessionClosed as SessionClosed
    from rshell.errors import SpawnError as SpawnError
    from rshell.errors import TransferFailed as TransferFailed
    from rshell.errors import UntrustedServer as UntrustedServer
    from rshell.errors import VersionMismatch as VersionMismatch
    from rshell.security.certificates import CertificateFiles as CertificateFiles
    from rshell.server.server import Server as Server
    from rshell.server.start import serve as serve
    from rshell.transport.channel import Channel as Channel
    from rshell.values import Address as Address
    from rshell.values import ExitStatus as ExitStatus
    from rshell.values import Limits as Limits
    from rshell.values import TerminalSize as TerminalSize
else:
    __all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'rshell' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(_HOME_OF)
