"""The pure core: bytes in, events and bytes out.

Nothing below imports asyncio, sockets, TLS, the operating system, threads or a clock; time
comes in as `now`, seconds of any monotonic clock. What it must do is docs/protocol.md.
"""
