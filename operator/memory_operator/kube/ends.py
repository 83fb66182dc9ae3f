"""Which objects are gone, so that late news does not bring them back."""

from __future__ import annotations

from collections import OrderedDict

# So many objects are remembered to be gone; the oldest news on its way is seconds old.
REMEMBERED_ENDS = 10_000


class Ends:
    """The ends that were seen last, by uid."""

    def __init__(self) -> None:
        self._versions: OrderedDict[str, int] = OrderedDict()

    def note(self, uid: str, version: int) -> None:
        """Remember that the object is gone, or out of sight, since this version."""
        self._versions[uid] = version
        if len(self._versions) > REMEMBERED_ENDS:
            self._versions.popitem(last=False)

    def outdates(self, uid: str, version: int) -> bool:
        """Return whether this is old news; one that changed after its end had only lost the label that we watch."""
        if version <= self._versions.get(uid, -1):
            return True
        self._versions.pop(uid, None)
        return False
