"""Following a file that grows, shrinks, is replaced or rotated: every whole line once."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oellm_bench.monitoring.log_tail import Cursor, read_new


class Follower:
    """Reads a file by a cursor that goes through its plain form each time, as over a restart of the monitor."""

    def __init__(self, path):
        self.path = path
        self.cursor = Cursor()

    def read(self, **options):
        chunk = read_new(self.path, self.cursor, **options)
        if chunk is None:
            return b""
        self.cursor = Cursor.from_document(chunk.cursor.to_document())
        self.offset = chunk.offset
        return chunk.data

    def append(self, data):
        with self.path.open("ab") as stream:
            stream.write(data)


@pytest.fixture
def log(tmp_path):
    return Follower(tmp_path / 'it\'s a "log"')


def test_a_file_that_is_not_there_yet_has_nothing_new(log):
    assert log.read() == b""
    log.append(b"a\n")
    assert log.read() == b"a\n"


def test_every_line_is_read_once(log):
    log.append(b"a\nb\n")
    assert log.read() == b"a\nb\n"
    assert log.read() == b""
    log.append(b"c\n")
    assert log.read() == b"c\n"


def test_a_line_is_read_when_it_is_whole(log):
    log.append(b"a\nhal")
    assert log.read() == b"a\n"
    assert log.read() == b""
    log.append(b"f\nb")
    assert log.read() == b"half\n"


def test_the_last_line_needs_no_newline_in_the_final_drain(log):
    log.append(b"a\nhalf")
    assert log.read(final=True) == b"a\nhalf"
    assert log.read(final=True) == b""


def test_a_file_that_shrank_is_read_from_its_start(log):
    log.append(b"first\nsecond\n")
    log.read()
    log.path.write_bytes(b"third\n")
    assert log.read() == b"third\n"
    assert (log.offset, log.cursor.generation) == (0, 1)


def test_a_file_that_was_emptied_and_written_again_longer_is_read_from_its_start(log):
    log.append(b"first\n")
    log.read()
    log.path.write_bytes(b"something else, longer than before\n")
    assert log.read() == b"something else, longer than before\n"


def test_other_content_of_the_same_size_in_the_same_file_is_read_once_more_comes(log):
    log.append(b"first\n")
    log.read()
    inode = log.path.stat().st_ino
    log.path.write_bytes(b"other\n")
    assert log.path.stat().st_ino == inode
    log.append(b"more\n")
    assert log.read() == b"other\nmore\n"


def test_another_file_of_the_same_size_under_the_name_is_read(log):
    log.append(b"first\n")
    log.read()
    fresh = log.path.with_name("fresh")
    fresh.write_bytes(b"other\n")
    fresh.replace(log.path)
    assert log.read() == b"other\n"


def test_after_a_rotation_the_new_file_is_followed(log):
    log.append(b"first\n")
    log.read()
    log.path.rename(log.path.with_name("rotated"))
    assert log.read() == b""
    log.append(b"second\n")
    assert log.read() == b"second\n"
    assert log.cursor.generation == 1


def test_a_file_that_vanished_for_a_while_goes_on_where_it_was(log):
    log.append(b"first\n")
    log.read()
    aside = log.path.with_name("aside")
    log.path.rename(aside)
    assert log.read() == b""
    aside.rename(log.path)
    log.append(b"second\n")
    assert log.read() == b"second\n"


def test_a_chatty_file_is_read_in_portions_of_whole_lines(log):
    log.append(b"0123\n" * 10)
    portions = [log.read(max_bytes=12) for _ in range(6)]
    assert portions == [b"0123\n0123\n"] * 5 + [b""]


def test_a_line_longer_than_a_portion_is_read_all_the_same(log):
    log.append(b"x" * 25 + b"\nend\n")
    assert b"".join(log.read(max_bytes=10) for _ in range(6)) == b"x" * 25 + b"\nend\n"


def test_a_final_drain_in_portions_loses_nothing(log):
    log.append(b"0123\n" * 5 + b"tail")
    found = b"".join(iter(lambda: log.read(final=True, max_bytes=7), b""))
    assert found == b"0123\n" * 5 + b"tail"


def test_bytes_that_are_no_text_are_kept(log):
    log.append(b"\xff\x00\xfe\r\n")
    assert log.read() == b"\xff\x00\xfe\r\n"


def test_a_file_that_cannot_be_read_says_so(log):
    log.path.mkdir()
    with pytest.raises(OSError, match="directory"):
        log.read()


@given(st.lists(st.binary(max_size=30), max_size=12), st.integers(8, 40))
def test_whatever_is_appended_in_whatever_pieces_is_read_once_in_order(tmp_path_factory, pieces, max_bytes):
    log = Follower(tmp_path_factory.mktemp("log") / "log")
    found = b""
    for piece in pieces:
        log.append(piece)
        found += log.read(max_bytes=max_bytes)
    found += b"".join(iter(lambda: log.read(final=True, max_bytes=max_bytes), b""))
    assert found == b"".join(pieces)


def test_an_idle_file_is_not_even_opened(log):
    log.append(b"a\n")
    log.read()
    os.utime(log.path, (0, 0))
    log.read()
    assert log.path.stat().st_atime == 0
