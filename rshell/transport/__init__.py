"""Where asyncio meets bytes: byte streams, the driver that feeds a link, and sessions in use."""
