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
    os.utime(log.path, ns=(0, log.path.stat().st_mtime_ns))
    log.read()
    assert log.path.stat().st_atime == 0


def lines_of(log, **options):
    """Everything there is to read now, in order."""
    return b"".join(iter(lambda: log.read(**options), b""))


def test_what_was_written_before_a_rotation_is_read_before_what_came_after(log):
    log.append(b"1\n")
    log.read()
    log.append(b"2\n")
    log.path.rename(log.path.with_name(log.path.name + ".1"))
    log.append(b"3\n")
    assert lines_of(log) == b"2\n3\n"


def test_several_rotations_between_two_looks_lose_nothing(log):
    log.append(b"1\n")
    log.read()
    for number in (2, 3, 4):
        log.append(b"%d\n" % number)
        for rank in (2, 1):
            part = log.path.with_name(f"{log.path.name}.{rank}")
            if part.exists():
                part.rename(log.path.with_name(f"{log.path.name}.{rank + 1}"))
        log.path.rename(log.path.with_name(log.path.name + ".1"))
    log.append(b"5\n")
    assert lines_of(log) == b"2\n3\n4\n5\n"
    assert log.cursor.generation == 3


def test_rotations_before_the_first_look_lose_nothing(log):
    log.append(b"1\n")
    log.path.rename(log.path.with_name(log.path.name + ".1"))
    log.append(b"2\n")
    assert lines_of(log) == b"1\n2\n"


def test_a_log_that_was_renamed_before_the_first_look_and_never_begun_again_is_read_at_the_end(log):
    log.append(b"1\n")
    log.path.rename(log.path.with_name(log.path.name + ".1"))
    assert lines_of(log, final=True) == b"1\n"


def test_parts_that_are_older_than_the_attempt_are_not_read(log):
    old = log.path.with_name(log.path.name + ".1")
    old.write_bytes(b"of another attempt\n")
    os.utime(old, (1000, 1000))
    log.append(b"mine\n")
    assert lines_of(log, since=2000.0) == b"mine\n"


def test_a_renamed_log_that_is_still_written_to_is_followed_until_the_new_one_has_something(log):
    with log.path.open("ab") as stream:
        stream.write(b"1\n")
        stream.flush()
        log.read()
        log.path.rename(log.path.with_name(log.path.name + ".1"))
        stream.write(b"2\n")
        stream.flush()
        assert lines_of(log) == b"2\n"
        log.path.touch()  # as logrotate's `create` does before the program has heard of it
        stream.write(b"3\n")
        stream.flush()
        assert lines_of(log) == b"3\n"
    log.append(b"4\n")
    assert lines_of(log) == b"4\n"


def test_a_last_line_without_a_newline_is_read_when_its_file_is_left_behind(log):
    log.append(b"1\nhalf")
    log.read()
    log.path.rename(log.path.with_name(log.path.name + "-20261123"))
    log.append(b"2\n")
    assert lines_of(log) == b"half2\n"


def copy_and_empty(path):
    copy = path.with_name(path.name + ".1")
    copy.write_bytes(path.read_bytes())
    os.truncate(path, 0)


def test_what_was_written_before_a_copy_and_truncate_is_read_from_the_copy(log):
    log.append(b"1\n")
    log.read()
    log.append(b"2\n")
    copy_and_empty(log.path)
    log.append(b"3\n")
    assert lines_of(log) == b"2\n3\n"


@pytest.mark.parametrize("copied", [b"2\n3\n", b"2\n", b"2\n3"], ids=["whole", "a part", "within a line"])
@pytest.mark.parametrize("before", ["nothing", "rename"])
def test_a_look_between_the_copying_and_the_emptying_reads_nothing_twice(log, before, copied):
    if before == "rename":
        log.append(b"1\n")
        assert lines_of(log) == b"1\n"
        log.path.rename(log.path.with_name(log.path.name + ".2"))
    log.append(b"2\n3\n")
    log.path.with_name(log.path.name + ".1").write_bytes(copied)
    assert lines_of(log) == b"2\n3\n"
    log.path.with_name(log.path.name + ".1").write_bytes(b"2\n3\n")
    os.truncate(log.path, 0)
    assert lines_of(log) == b""
    log.append(b"4\n")
    assert lines_of(log) == b"4\n"


def test_a_renamed_part_that_says_the_same_as_what_came_after_it_is_read(log):
    log.append(b"tick\n")
    log.path.rename(log.path.with_name(log.path.name + ".1"))
    os.utime(log.path.with_name(log.path.name + ".1"), (1e9, 1e9))
    log.append(b"tick\ntick\n")
    assert lines_of(log) == b"tick\n" * 3


def test_a_truncated_log_that_grew_again_past_the_cursor_with_the_same_banner_is_seen_through(log):
    banner = b"banner " * 60 + b"\n"
    log.append(banner + b"first run, step 1\n")
    log.read()
    log.path.write_bytes(banner + b"second run, step 1\nsecond run, step 2\n")
    assert lines_of(log) == banner + b"second run, step 1\nsecond run, step 2\n"


def test_a_file_emptied_under_a_writer_that_does_not_append_is_read_from_where_its_data_begin(log):
    with log.path.open("wb") as stream:
        stream.truncate(1 << 30)
        stream.seek(1 << 30)
        stream.write(b"after the hole\n")
    found = log.read()
    assert found.endswith(b"after the hole\n")
    assert len(found) < 1 << 20


def test_files_with_other_names_are_not_taken_for_parts(log):
    log.path.with_name(log.path.name + ".2b").write_bytes(b"no part\n")
    log.path.with_name(log.path.name + ".json").write_bytes(b"no part\n")
    log.append(b"1\n")
    assert lines_of(log) == b"1\n"


steps = st.lists(
    st.one_of(st.binary(max_size=12), st.sampled_from(["rename", "copy", "copy, look", "look"])), max_size=25
)


@given(steps)
def test_whatever_is_rotated_whenever_every_line_is_read_once_in_order(tmp_path_factory, steps):
    log = Follower(tmp_path_factory.mktemp("log") / "log")
    written, number, found = b"", 0, b""
    for step in steps:
        if isinstance(step, bytes):
            number += 1
            line = b"%d %s\n" % (number, step.replace(b"\n", b"").replace(b"\r", b""))
            log.append(line)
            written += line
        elif step == "look":
            found += lines_of(log)
        elif log.path.exists() and log.path.stat().st_size:
            # Each part has a name of its own, as with dates; a time that only grows, as on any real file system.
            part = log.path.with_name(f"{log.path.name}.20261123{number:06d}")
            if step == "rename":
                log.path.rename(part)
            else:
                part.write_bytes(log.path.read_bytes())
                found += lines_of(log) if step == "copy, look" else b""
                os.truncate(log.path, 0)
    assert found + lines_of(log, final=True) == written
