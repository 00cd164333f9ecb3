"""Where in the key-value cache sequences are: a table of pages, shared where prompts begin alike."""

from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b
from heapq import heappop, heappush

import numpy as np

from service.engine_options import PAGE_TOKENS


def page_hashes(tokens: Sequence[int], content: object, page_tokens: int) -> list[bytes]:
    """A hash for each full page of a prompt, of all that comes before its end.

    `content` is whatever image tokens stand for, so that prompts share pages where their images are the same.
    """
    found, digest = list[bytes](), blake2b(repr(content).encode()).digest()
    for end in range(page_tokens, len(tokens) + 1, page_tokens):
        page = np.asarray(tokens[end - page_tokens : end], np.int32)
        digest = blake2b(digest + page.tobytes()).digest()
        found.append(digest)
    return found


class PageTable:
    """`total` pages of `page_tokens` tokens each.

    A page is free, in use by one or more sequences, or kept: unused, but a hash names its content.
    Kept pages can be taken, the least recently used first.
    """

    def __init__(self, total: int, page_tokens: int = PAGE_TOKENS) -> None:
        self.total = total
        self.page_tokens = page_tokens
        self.shared_tokens = 0  # tokens of prompts that were in the cache already
        self.evicted = 0
        self.used = 0
        self._free = list(range(total))
        self._in_heap = [True] * total
        self._is_free = [True] * total
        self._users = [0] * total
        self._kept: OrderedDict[int, None] = OrderedDict()
        self._page_of: dict[bytes, int] = {}
        self._hash_of: dict[int, bytes] = {}

    @property
    def available(self) -> int:
        """Pages that can be taken now."""
        return self.total - self.used

    def needed(self, tokens: int) -> int:
        """Pages that so many tokens take."""
        return -(-tokens // self.page_tokens)

    def grow(self, pages: list[int], tokens: int) -> bool:
        """Append pages until `tokens` fit, all or none; whether they fit now."""
        more = self.needed(tokens) - len(pages)
        if more <= 0:
            return True
        if more > self.available:
            return False
        for _ in range(more):
            pages.append(self._take(pages[-1] + 1 if pages else None))
        return True

    def known(self, hashes: Sequence[bytes]) -> int:
        """How many pages of a prompt's beginning are in the cache."""
        return next((index for index, one in enumerate(hashes) if one not in self._page_of), len(hashes))

    def share(self, hashes: Sequence[bytes]) -> list[int]:
        """The pages of the longest known beginning of a prompt; they are the caller's to release."""
        found = list[int]()
        for digest in hashes:
            page = self._page_of.get(digest)
            if page is None:
                break
            self.used += not self._users[page]
            self._users[page] += 1
            self._kept.pop(page, None)
            found.append(page)
        self.shared_tokens += len(found) * self.page_tokens
        return found

    def publish(self, pages: Sequence[int], hashes: Sequence[bytes]) -> None:
        """Let later prompts share full pages that have been computed."""
        for page, digest in zip(pages, hashes, strict=False):
            if digest not in self._page_of and page not in self._hash_of:
                self._page_of[digest] = page
                self._hash_of[page] = digest

    def release(self, pages: list[int], *, whole: bool = True) -> list[int]:
        """Give pages back; those that are known stay until their space is needed.

        Those of a sequence that is not `whole` are forgotten; returns the ones to be cleared.
        """
        cleared = list[int]()
        for page in reversed(pages):  # so that the end of a prompt goes before its beginning
            self._users[page] -= 1
            if self._users[page]:
                continue
            self.used -= 1
            if not whole:
                cleared.append(page)
                if page in self._hash_of:
                    del self._page_of[self._hash_of.pop(page)]
            if page in self._hash_of:
                self._kept[page] = None
            else:
                self._put(page)
        pages.clear()
        return cleared

    def forget(self) -> None:
        """Free all pages that are kept."""
        while self._kept:
            self._evict()

    def _take(self, wanted: int | None) -> int:
        """The wanted page if it is free, as neighbors are read faster; else the first free one."""
        if wanted is None or wanted >= self.total or not self._is_free[wanted]:
            while self._free and not self._is_free[self._free[0]]:
                self._in_heap[heappop(self._free)] = False
            if not self._free:
                self._evict()
            wanted = self._free[0]
        self._is_free[wanted] = False
        self._users[wanted] = 1
        self.used += 1
        return wanted

    def _put(self, page: int) -> None:
        self._is_free[page] = True
        if not self._in_heap[page]:  # pages that were taken from the middle are still in it
            self._in_heap[page] = True
            heappush(self._free, page)

    def _evict(self) -> None:
        page, _ = self._kept.popitem(last=False)
        del self._page_of[self._hash_of.pop(page)]
        self.evicted += 1
        self._put(page)
