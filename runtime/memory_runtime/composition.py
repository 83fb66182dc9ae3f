"""The one place where classes meet settings."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from memory_contracts.settings import RuntimeSettings
from memory_runtime.adapters.embedding.hashing import HashEmbedder
from memory_runtime.adapters.embedding.potion import PotionEmbedder
from memory_runtime.adapters.postgres.changes import PostgresChanges
from memory_runtime.adapters.postgres.database import Database
from memory_runtime.adapters.postgres.memories import PostgresMemories
from memory_runtime.adapters.slab import Slab
from memory_runtime.ports import Embedder, VectorIndex
from memory_runtime.services.changes import ChangeFeed
from memory_runtime.services.follow import Follower
from memory_runtime.services.forget import Forget, Get
from memory_runtime.services.recall import Recall
from memory_runtime.services.store import Store

DEFAULT_HASH_DIMENSIONS = 512


@dataclass(frozen=True, slots=True)
class Application:
    """The use cases of one namespace, and what keeps them supplied."""

    settings: RuntimeSettings
    embedder: Embedder
    database: Database
    index: VectorIndex
    feed: ChangeFeed
    follower: Follower
    store: Store
    forget: Forget
    get: Get
    recall: Recall


def compose(settings: RuntimeSettings) -> Application:
    """Build the application; nothing is connected yet."""
    embedder = choose_embedder(settings)
    database = Database(settings)
    memories = PostgresMemories(database)
    changes = PostgresChanges(database, embedder.embedder_id)
    index = Slab(embedder.dimensions)
    retention = timedelta(hours=settings.retention_hours)
    feed = ChangeFeed(
        changes,
        index,
        consistency_timeout=settings.consistency_timeout,
        reload_after=retention.total_seconds() / 2,
    )

    async def connect() -> None:
        await database.open()
        await (changes.check_embedder() if settings.read_only else changes.claim_embedder())

    return Application(
        settings=settings,
        embedder=embedder,
        database=database,
        index=index,
        feed=feed,
        follower=Follower(
            feed,
            index,
            memories,
            connect=connect,
            announce=changes.announce,
            listen=changes.listen,
            retention=retention,
            read_only=settings.read_only,
        ),
        store=Store(settings.namespace, embedder, memories, feed),
        forget=Forget(settings.namespace, memories, feed),
        get=Get(settings.namespace, memories),
        recall=Recall(embedder, memories, index, feed),
    )


def choose_embedder(settings: RuntimeSettings) -> Embedder:
    """Return the embedder that the settings name."""
    if settings.embedding_provider == "hash":
        return HashEmbedder(settings.embedding_dimensions or DEFAULT_HASH_DIMENSIONS)
    return PotionEmbedder()
