"""SLURM's times and sizes to numbers and back."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oellm_bench.units import format_duration, format_slurm_time, parse_memory, parse_slurm_time


@given(st.integers(0, 400 * 86400))
def test_a_time_reads_back_as_it_was_written(seconds):
    assert parse_slurm_time(format_slurm_time(seconds)) == seconds


@given(st.floats(0, 1e7))
def test_a_written_time_is_never_shorter_than_asked_for(seconds):
    assert parse_slurm_time(format_slurm_time(seconds)) == math.ceil(seconds)


@given(st.integers(0, 400), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_every_form_of_sbatch_is_read(days, hours, minutes, seconds):
    day_s, hour_s, minute_s = days * 86400, hours * 3600, minutes * 60
    assert parse_slurm_time(f"{minutes}") == minute_s
    assert parse_slurm_time(f"{minutes}:{seconds}") == minute_s + seconds
    assert parse_slurm_time(f"{hours}:{minutes}:{seconds}") == hour_s + minute_s + seconds
    assert parse_slurm_time(f"{days}-{hours}") == day_s + hour_s
    assert parse_slurm_time(f"{days}-{hours}:{minutes}") == day_s + hour_s + minute_s
    assert parse_slurm_time(f"{days}-{hours}:{minutes}:{seconds}") == day_s + hour_s + minute_s + seconds


@pytest.mark.parametrize("text", ["UNLIMITED", "infinite", "Partition_Limit", ""])
def test_no_limit_is_none(text):
    assert parse_slurm_time(text) is None


@pytest.mark.parametrize("text", ["soon", "1:2:3:4", "-5", "1-", "-1:00", "1h", "1:00:", ":30", "1.5", "1 2", "True"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match=r"is not a SLURM time"):
        parse_slurm_time(text)


@given(st.integers(0, 10**6), st.sampled_from("KMGTP"))
def test_a_size_is_read_in_powers_of_1024(number, unit):
    size = number * 1024 ** ("KMGTP".index(unit) + 1)
    spellings = (f"{number}{unit}", f"{number}{unit.lower()}", f"{number} {unit}iB", f"{number}{unit}B")
    assert {parse_memory(text) for text in spellings} == {size}


@pytest.mark.parametrize(("text", "size"), [(512, 512 << 20), ("0", 0), ("1.5G", 3 << 29), (" 2G ", 2 << 30)])
def test_a_bare_number_is_mebibytes_and_fractions_are_allowed(text, size):
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["", "G", "4X", "-1G", "4 G G", "1e3", "four"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match=r"is not a memory size"):
        parse_memory(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0, "0.0s"),
        (7.34, "7.3s"),
        (59.96, "1m00s"),
        (59.94, "59.9s"),
        (60, "1m00s"),
        (245, "4m05s"),
        (3599.6, "1h00m"),
        (7800, "2h10m"),
        (86399.7, "1d00h"),
        (3 * 86400 + 4 * 3600, "3d04h"),
    ],
)
def test_a_duration_is_shown_for_people(seconds, text):
    assert format_duration(seconds) == text
