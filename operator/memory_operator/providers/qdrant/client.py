"""Observes and applies in Qdrant; the only module of the operator that knows the driver."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager

from qdrant_client import AsyncQdrantClient, models
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from memory_contracts.conditions import Reason
from memory_contracts.errors import Conflict, NotFound, PlatformError, Rejected
from memory_operator.providers.qdrant.connection import QdrantConnection
from memory_operator.providers.qdrant.failures import no_answer, not_qdrant, refusal, too_slow
from memory_operator.providers.qdrant.plan import (
    AliasTarget,
    CreateCollection,
    DesiredCollection,
    DropCollection,
    Listing,
    Mark,
    ObservedCollection,
    ObservedQdrant,
    PointAlias,
    SetIndex,
    Step,
    TakeOver,
    differs,
    in_turn,
    knows_metadata,
    plan,
)
from memory_operator.providers.shapes import BackendFacts, Permit, everything

AT_ONCE = 8
# As many dedicated collections as a server should hold; beyond it a sweep looks into a part of them in turn.
LOOKED_INTO = 300

logger = logging.getLogger(__name__)


class QdrantBackend:
    """One Qdrant server, shared by all passes; connects when it is first needed."""

    def __init__(self, connection: QdrantConnection, permit: Permit = everything) -> None:
        self._connection = connection
        self._permit = permit
        self._driver: AsyncQdrantClient | None = None
        self._opening = asyncio.Lock()
        self._version_in_use = ""
        self._looked_into_last = ""

    async def close(self) -> None:
        """Close the connections."""
        async with self._opening:
            driver, self._driver = self._driver, None
        if driver:
            await driver.close()

    async def facts(self) -> BackendFacts:
        """Return what the server says about itself, after it has taken the API key.

        A Qdrant server has no lasting identity, so its address stands for it. Two addresses of one server count as two;
        the marks in the collections keep tenants apart all the same.
        """
        self._version_in_use = version = await self._version()
        await self._listing()  # the version is told to everybody
        features = ("collection-metadata", "conditional-upsert") if knows_metadata(version) else ()
        return BackendFacts(version, self._connection.address, features)

    async def observe(self, desired: DesiredCollection) -> ObservedQdrant:
        """Return what the server holds under the tenant's names; changes nothing. Two small requests when converged."""
        version = await self._known_version()
        collection = await self._collection(desired.collection)
        return ObservedQdrant(version, collection, await self._alias(desired, collection))

    async def apply(self, desired: DesiredCollection, steps: Sequence[Step]) -> None:
        """Carry out the steps, in order. Each is one request, so a crash leaves a state that `plan` knows."""
        for step in steps:
            try:
                await self._apply(desired, step)
            except NotFound as error:
                raise Conflict(f"{step.summary}: {error.detail}") from error
            except PlatformError as error:
                raise type(error)(f"{step.summary}: {error.detail}", reason=error.reason) from error
            logger.info(step.summary, extra={"event": "qdrant.step", "tenant": desired.tenant})

    async def drifted(self, all_desired: Sequence[DesiredCollection], at_least: int = LOOKED_INTO) -> set[str]:
        """Return the tenants whose collection, alias, mark, vectors or payload indexes are not as desired.

        Two requests tell, for any number of tenants, which collections and aliases are missing or lead elsewhere.
        Marks, vectors and indexes are told of one collection at a time, eight at once. A sweep asks so of `at_least` so
        many tenants, and of half of them where there are more: such a change is found after at most two sweeps.
        """
        version, listing = await self._known_version(), await self._listing()
        found = {each.tenant for each in all_desired if differs(each, listing)}
        rest = [each for each in all_desired if each.tenant not in found]
        chosen = in_turn(rest, self._looked_into_last, max(at_least, (len(all_desired) + 1) // 2))

        async def look(desired: DesiredCollection) -> None:
            collection = await self._collection(desired.collection)
            alias = AliasTarget(desired.collection, collection.mark) if collection else None
            if plan(desired, ObservedQdrant(version, collection, alias)) != []:
                found.add(desired.tenant)

        await _for_each(look, chosen)
        if chosen:
            self._looked_into_last = chosen[-1].tenant
        return found

    async def _apply(self, desired: DesiredCollection, step: Step) -> None:
        async with self._changing() as driver:
            match step:
                case CreateCollection(name, dimensions, distance, mark):
                    vectors = models.VectorParams(size=dimensions, distance=models.Distance(distance))
                    await driver.create_collection(name, vectors, metadata=mark.as_metadata())
                case TakeOver(name, mark):
                    await driver.update_collection(name, metadata=mark.as_metadata())
                case SetIndex(name, payload_field, schema):
                    await driver.create_payload_index(name, payload_field, models.PayloadSchemaType(schema))
                case PointAlias(alias, name):
                    target = models.CreateAlias(collection_name=name, alias_name=alias)
                    await driver.update_collection_aliases([models.CreateAliasOperation(create_alias=target)])
                case DropCollection(name):
                    await self._drop(driver, desired, name)

    async def _drop(self, driver: AsyncQdrantClient, desired: DesiredCollection, name: str) -> None:
        """Look at the mark once more: a plan may be older than the collection that has the name now."""
        collection = await self._collection(name)
        if collection and not desired.owns(collection.mark):
            raise Conflict(f"collection {name} has got another owner meanwhile")
        await driver.delete_collection(name)

    async def _version(self) -> str:
        async with self._reading() as driver:
            return (await driver.info()).version

    async def _known_version(self) -> str:
        """Return a version that was seen before, as long as it is new enough: a server with marks is not set back."""
        if not knows_metadata(self._version_in_use):
            self._version_in_use = await self._version()
        return self._version_in_use

    async def _listing(self) -> Listing:
        async with self._reading() as driver:
            collections = (await driver.get_collections()).collections
        async with self._reading() as driver:
            aliases = (await driver.get_aliases()).aliases
        return Listing(
            frozenset(each.name for each in collections), {each.alias_name: each.collection_name for each in aliases}
        )

    async def _collection(self, name: str) -> ObservedCollection | None:
        """Return the collection that has this name, or to which the alias of this name leads."""
        try:
            async with self._reading() as driver:
                return _observed(await driver.get_collection(name))
        except NotFound:
            return None

    async def _alias(self, desired: DesiredCollection, collection: ObservedCollection | None) -> AliasTarget | None:
        """Return where the alias leads. The list of all aliases is asked for only when it leads somewhere else."""
        if collection and desired.alias in await self._aliases_of(desired.collection):
            return AliasTarget(desired.collection, collection.mark)
        target = await self._collection(desired.alias)
        if target is None:
            return None
        listing = await self._listing()
        if desired.alias in listing.aliases:
            return AliasTarget(listing.aliases[desired.alias], target.mark)
        if desired.alias in listing.collections:
            return AliasTarget(desired.alias, target.mark)
        raise Conflict(f"alias {desired.alias} was removed while it was looked at")

    async def _aliases_of(self, name: str) -> set[str]:
        async with self._reading() as driver:
            return {each.alias_name for each in (await driver.get_collection_aliases(name)).aliases}

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncQdrantClient]:
        async with self._asking(self._connection.read_seconds) as driver:
            yield driver

    @asynccontextmanager
    async def _changing(self) -> AsyncIterator[AsyncQdrantClient]:
        self._permit()
        async with self._asking(self._connection.write_seconds) as driver:
            yield driver

    @asynccontextmanager
    async def _asking(self, seconds: float) -> AsyncIterator[AsyncQdrantClient]:
        """Lend the driver for one request, and translate what goes wrong."""
        where = self._connection.where
        try:
            async with asyncio.timeout(seconds):
                yield await self._open()
        except TimeoutError as error:
            raise too_slow(where, seconds) from error
        except UnexpectedResponse as error:
            raise refusal(where, error.status_code or 0, error.content) from error
        except ResourceExhaustedResponse as error:
            raise refusal(where, 429, str(error).encode(), error.retry_after_s) from error
        except ResponseHandlingException as error:
            raise no_answer(where, error.source) from error
        except (json.JSONDecodeError, UnicodeDecodeError) as error:  # the driver wraps all but these
            raise not_qdrant(where) from error

    async def _open(self) -> AsyncQdrantClient:
        async with self._opening:
            if self._driver is None:
                # In a thread: reading the authorities of the operating system takes some 20 ms.
                self._driver = await asyncio.to_thread(_driver, self._connection)
            return self._driver


def _driver(connection: QdrantConnection) -> AsyncQdrantClient:
    # As a header: given as a key the driver would warn whenever a server inside the cluster is reached without TLS.
    headers = {"api-key": connection.api_key} if connection.api_key is not None else {}
    return AsyncQdrantClient(
        url=connection.url,
        headers=headers,
        verify=_authorities(connection),
        timeout=math.ceil(connection.write_seconds),  # `_asking` ends a request sooner where that is too long
        check_compatibility=False,  # it asks in a thread of its own, and only warns
    )


def _authorities(connection: QdrantConnection) -> ssl.SSLContext:
    if not connection.tls:
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # not used, and made without reading a file
    try:
        return ssl.create_default_context(cadata=connection.ca_certificates)
    except (ssl.SSLError, ValueError) as error:
        raise Rejected(
            f"the authorities for {connection.where} cannot be read; tls.caSecretRef names certificates in PEM",
            reason=Reason.TLS_FAILED,
        ) from error


def _observed(info: models.CollectionInfo) -> ObservedCollection:
    vectors = info.config.params.vectors
    plain = vectors if isinstance(vectors, models.VectorParams) and vectors.multivector_config is None else None
    return ObservedCollection(
        mark=Mark.read(info.config.metadata),
        dimensions=plain.size if plain else None,
        distance=plain.distance.value if plain else None,
        payload_indexes={name: index.data_type.value for name, index in info.payload_schema.items()},
    )


async def _for_each(
    look: Callable[[DesiredCollection], Awaitable[None]], everything: Iterable[DesiredCollection]
) -> None:
    """Await `look` for each, a few at once; the first failure ends all."""
    waiting = iter(everything)

    async def work() -> None:
        for each in waiting:
            await look(each)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(work())
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
