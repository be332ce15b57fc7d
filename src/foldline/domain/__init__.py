"""The pure core: messages, decisions and folds, without I/O, asyncio, clock or randomness."""
