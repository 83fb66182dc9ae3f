"""Doing a write once, however often the caller sends it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

from memory_runtime.domain.records import IdempotencyKey, Written
from memory_runtime.ports import Memories, Writer


async def once(
    memories: Memories,
    key: IdempotencyKey | None,
    action: Callable[[Writer], Awaitable[Sequence[Written]]],
    *,
    transaction: bool = False,
) -> tuple[list[Written], bool]:
    """Run `action` and return what it wrote, and whether that is a replay of an earlier answer.

    With a key, the key and the write commit together; `transaction` asks for one even without a key.
    """
    if key is None:
        async with memories.writer(transaction=transaction) as writer:
            return list(await action(writer)), False
    async with memories.writer(transaction=True) as writer:
        if (answer := await writer.claim(key)) is not None:
            return _decode(answer), True
        written = list(await action(writer))
        await writer.complete(key, _encode(written))
        return written, False


def _encode(written: Sequence[Written]) -> str:
    return json.dumps([[each.seq, str(each.id), each.version, each.transaction] for each in written])


def _decode(answer: str) -> list[Written]:
    return [Written(seq, UUID(id_), version, transaction) for seq, id_, version, transaction in json.loads(answer)]
