"""All collections and aliases of the double, in one directory that outlives the process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

from qdrant.collection import Collection, Description
from qdrant.filters import known
from qdrant.refusals import Refused, not_found, not_imitated, wrong_input


class Storage:
    """What `directory` holds. Calls come one at a time, so each is atomic."""

    def __init__(self, directory: Path) -> None:
        self._folder = directory / "collections"
        self._alias_file = directory / "aliases.json"
        self._folder.mkdir(parents=True, exist_ok=True)
        folders = [each for each in self._folder.iterdir() if (each / "description.json").exists()]
        loaded = [Collection.load(each) for each in folders]
        self.collections = {each.about.name: each for each in sorted(loaded, key=lambda each: each.about.name)}
        stored = json.loads(self._alias_file.read_text()) if self._alias_file.exists() else {}
        self.aliases: dict[str, str] = {alias: name for alias, name in stored.items() if name in self.collections}

    def close(self) -> None:
        for collection in self.collections.values():
            collection.close()

    def find(self, name: str) -> Collection:
        """Return the collection of this name or alias."""
        try:
            return self.collections[self.aliases.get(name, name)]
        except KeyError:
            raise missing(name) from None

    def exists(self, name: str) -> bool:
        return self.aliases.get(name, name) in self.collections

    def create(self, name: str, json: dict[str, Any]) -> None:
        known(json, {"vectors", "metadata", "strict_mode_config"}, "the creation of a collection")
        if name in self.collections:
            raise taken(name)
        if name in self.aliases:
            raise wrong_input(f"Can't create collection with name {name}. Alias with the same name already exists")
        vectors = json.get("vectors") or {}
        if "size" not in vectors:
            raise not_imitated("collections without the one unnamed vector")
        known(vectors, {"size", "distance"}, "vectors")
        about = Description(
            name=name,
            size=vectors["size"],
            distance=vectors["distance"],
            metadata=json.get("metadata") or {},
            strict_mode=json.get("strict_mode_config"),
        )
        self.collections[name] = Collection.create(self._folder / uuid4().hex, about)

    def delete(self, name: str) -> bool:
        """Delete the collection, and its aliases with it; an alias is no name to delete by."""
        collection = self.collections.pop(name, None)
        if collection is None:
            return False
        self._set_aliases({alias: target for alias, target in self.aliases.items() if target != name})
        collection.delete()
        return True

    def change_aliases(self, actions: list[dict[str, Any]]) -> None:
        """Carry out all actions or none."""
        aliases = dict(self.aliases)
        for action in actions:
            match action:
                case {"create_alias": {"collection_name": collection, "alias_name": alias}}:
                    self._check_alias(collection, alias)
                    aliases[alias] = collection
                case {"delete_alias": {"alias_name": alias}}:
                    aliases.pop(alias, None)
                case {"rename_alias": {"old_alias_name": old, "new_alias_name": new}}:
                    if old not in aliases:
                        raise not_found(f"Alias {old} does not exists!")
                    aliases[new] = aliases.pop(old)
                case _:
                    raise Refused(400, f"Format error in JSON body: unknown alias action {action}")
        self._set_aliases(aliases)

    def _check_alias(self, collection: str, alias: str) -> None:
        if collection not in self.collections:
            raise missing(collection)
        if alias in self.collections:
            raise taken(alias)

    def _set_aliases(self, aliases: dict[str, str]) -> None:
        if aliases == self.aliases:
            return
        new = self._alias_file.with_suffix(".new")
        new.write_text(json.dumps(aliases))
        new.replace(self._alias_file)
        self.aliases = aliases


def missing(name: str) -> Refused:
    return not_found(f"Collection `{name}` doesn't exist!")


def taken(name: str) -> Refused:
    return Refused(409, f"Wrong input: Collection `{name}` already exists!")
