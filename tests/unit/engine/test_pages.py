"""The page table, without a model."""

from hypothesis import given
from hypothesis import strategies as st

from service.engine.pages import PageTable, page_hashes


def test_pages_are_taken_as_a_sequence_grows() -> None:
    """A sequence holds as many pages as its tokens need, and no more than there are."""
    table, pages = PageTable(3, 4), list[int]()
    assert table.grow(pages, 5)
    assert (pages, table.used, table.available) == ([0, 1], 2, 1)
    assert not table.grow(pages, 13)
    assert table.grow(pages, 12)
    table.release(pages)
    assert (pages, table.used) == ([], 0)


def test_prompts_that_begin_alike_share_full_pages() -> None:
    """A later prompt gets the pages of the beginning that is the same, images included."""
    table, first = PageTable(8, 4), list[int]()
    hashes = page_hashes(range(10), "image", 4)
    table.grow(first, 10)
    table.publish(first, hashes)
    assert table.share(page_hashes([*range(8), 99, 98, 97, 96], "image", 4)) == first[:2]
    assert table.share(page_hashes(range(10), "another image", 4)) == []
    assert table.shared_tokens == 8


def test_unused_pages_are_kept_until_they_are_needed() -> None:
    """The least recently used page is evicted first, the end of a prompt before its beginning."""
    table, pages = PageTable(2, 4), list[int]()
    hashes = page_hashes(range(8), None, 4)
    table.grow(pages, 8)
    table.publish(pages, hashes)
    table.release(pages)
    assert (table.used, table.available) == (0, 2)
    table.grow(other := list[int](), 4)
    assert (table.evicted, len(table.share(hashes))) == (1, 1)
    assert other


def test_pages_of_a_failed_sequence_are_shared_no_more() -> None:
    """What a failed sequence computed is forgotten, and its pages are to be cleared."""
    table, pages = PageTable(2, 4), list[int]()
    hashes = page_hashes(range(8), None, 4)
    table.grow(pages, 8)
    table.publish(pages, hashes)
    assert sorted(table.release(pages, whole=False)) == [0, 1]
    assert table.share(hashes) == []


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 40), st.booleans()), max_size=60))
def test_no_page_is_lost_or_given_twice(steps: list[tuple[int, int, bool]]) -> None:
    """Whatever sequences do, a page has as many holders as the table says, and all come back."""
    table, held = PageTable(7, 4), {n: list[int]() for n in range(6)}
    for number, tokens, whole in steps:
        pages, hashes = held[number], page_hashes([number % 2] * tokens, None, 4)
        if pages:
            table.publish(pages, hashes)
            table.release(pages, whole=whole)
        else:
            pages += table.share(hashes)
            table.grow(pages, tokens)
        assert table.used == len({page for own in held.values() for page in own})
        assert table.used + table.available == 7
        assert all(len(set(own)) == len(own) for own in held.values())
    for pages in held.values():
        table.release(pages)
    assert table.grow(whole_cache := list[int](), 28)
    assert sorted(whole_cache) == list(range(7))
