"""Which ports a new stack gets."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from stackctl.scaffold.ports import is_free, next_free, offers


@contextmanager
def listener(address: str = "127.0.0.1") -> Iterator[int]:
    with socket.socket() as held:
        held.bind((address, 0))
        held.listen()
        yield held.getsockname()[1]


def test_a_port_that_somebody_listens_on_is_not_free() -> None:
    with listener() as port:
        assert not is_free(port)
    assert is_free(port)


def test_a_port_taken_on_every_address_is_not_free() -> None:
    with listener("0.0.0.0") as port:
        assert not is_free(port)


def test_the_next_free_port_is_offered_for_a_taken_one() -> None:
    with listener() as port:
        offered = next_free(port, ())
    assert offered > port


def test_a_free_port_is_offered_as_it_is() -> None:
    with listener() as port:
        pass
    assert offers({"demo": port}, ()) == {"demo": port}


def test_no_port_is_offered_twice_nor_one_that_was_asked_for() -> None:
    with listener() as taken:
        offered = offers({"a": taken, "b": taken + 1, "c": taken + 2}, [taken + 3])
    assert len(set(offered.values())) == 3
    assert not {taken, taken + 3} & set(offered.values())


def test_the_highest_port_has_no_next_one_and_is_offered_itself() -> None:
    assert next_free(65535, [65535]) == 65535
