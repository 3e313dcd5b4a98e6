"""The log of a run: what is written is read, also after a kill in the middle of a line."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toolkit.console import UserError
from toolkit.runlog import RunLog, read_log

RECORDS = [{"step": 1, "loss": 2.5}, {"step": 2, "note": "é\u2028€"}, {"step": 3, "loss": 1.25}]


@pytest.fixture
def path(tmp_path):
    with RunLog(tmp_path / "log.jsonl") as log:
        for record in RECORDS:
            log.append(record)
    return tmp_path / "log.jsonl"


def test_round_trip_and_append(path):
    assert read_log(path) == RECORDS
    with RunLog(path) as log:
        log.append({"step": np.int64(4), "loss": np.float32(0.5)})
        assert read_log(path) == [*RECORDS, {"step": 4, "loss": 0.5}]  # flushed, though not closed


def test_a_file_cut_at_any_byte_is_read_and_continued(path):
    data = path.read_bytes()
    for size in range(len(data) + 1):
        path.write_bytes(data[:size])
        whole = data[:size].count(b"\n")
        assert read_log(path) == RECORDS[:whole]
        with RunLog(path) as log:
            log.append({"step": 9})
        assert read_log(path) == [*RECORDS[:whole], {"step": 9}]


@given(keep=st.integers(0, 5))
def test_rewind_keeps_the_first_records(tmp_path_factory, keep):
    path = tmp_path_factory.mktemp("log") / "log.jsonl"
    with RunLog(path) as log:
        for record in RECORDS:
            log.append(record)
        log.rewind(keep)
        log.append({"step": 9})
    assert read_log(path) == [*RECORDS[:keep], {"step": 9}]


def test_a_loss_that_is_not_a_number_is_logged(tmp_path):
    with RunLog(tmp_path / "log") as log:
        log.append({"loss": float("nan")})
    assert np.isnan(read_log(tmp_path / "log")[0]["loss"])


@pytest.mark.parametrize("line", [b"not json", b"[1]", b"\xff", b""])
def test_a_damaged_line_is_named(path, line):
    path.write_bytes(b'{"step": 1}\n' + line + b'\n{"step": 2}\n')
    with pytest.raises(UserError, match=r"log.jsonl line 2 is not a JSON object"):
        read_log(path)


def test_a_missing_log_is_named(tmp_path):
    with pytest.raises(UserError, match=r"cannot read the log .*none"):
        read_log(tmp_path / "none")
