"""CSV files: what is read, what is refused rather than misread, and what is said of their dates."""

import random
from datetime import datetime, timedelta

import pytest
from toolkit.console import UserError
from toolkit.dates import in_order, is_date, times_of
from toolkit.series import read_series
from toolkit.tables import read_table

VALUES = [float(i) for i in range(60)]
HOURS = [f"2020-01-{1 + i // 24:02} {i % 24:02}:00" for i in range(60)]


@pytest.fixture
def series(tmp_path):
    """Reads a series out of a text."""

    def read(text, column=None):
        path = tmp_path / "a.csv"
        path.write_bytes(text.encode())
        return read_series(str(path), column)

    return read


def table(dates, values=VALUES, name="date"):
    return f"{name},value\n" + "".join(f"{date},{value}\n" for date, value in zip(dates, values))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\n1\n2\n", [1, 2]),
        ("a\r\n1\r\n2\r\n", [1, 2]),
        ("a\r1\r2\r", [1, 2]),  # as on old Macs
        ('note,a\n"x, y",1\n"1,518.83",2\n', [1, 2]),
        ('note,a\n"two\nlines",1\n"a, 5\nb, 6, 7",2\n', [1, 2]),
        ('note,a\n5" pipe,1\n"a ""b"" c",2\n', [1, 2]),
        ("name,2019,2020\nx,1,2\ny,3,4\n", [2, 4]),  # years may be names
        ("#time,a\n0,1\n1,2\n", [1, 2]),
        (" a , b \n 1 , 2 \n\n\n", [2]),
        ("\ufeffa\n1\n", [1]),
        ("a\n1\n2\n\x1a", [1, 2]),  # as DOS ended files
    ],
)
def test_what_is_read(series, text, expected):
    assert series(text).values.tolist() == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("date,a\n2020-01-01,1,518.83\n", "line 2 has 3 cells, the line of names has 2"),
        ("a\n1518,83\n", "line 2 has 2 cells, the line of names has 1"),
        ('"a"\n"1",1518.83\n', "line 2 has 2 cells"),  # as of R's write.table
        ("a,b\n1,2\n3,4,\n", "line 3 has 3 cells"),
        ("a,b,c\n1,2,3\n4,5\n", "line 3 has 2 cells, the line of names has 3; write a comma for each"),
        ("Export\na,b\n1,2\n", "line 2 has 2 cells, the line of names has 1 .if that is a title, remove it"),
        ("Export\na\n1\n2\n", "'a' is not a number; if line 2 is the line of names, remove the lines above it"),
        ("# by logger\na,b\n1,2\n", "line 1 is a comment, '# by logger'; remove it"),
        ("# by logger\na\n1\n", "line 1 is a comment"),
        ("2020-01-01,5\n2020-01-02,6\n", "begins with a row of values"),
        ("x,5.25\ny,6.5\n", "begins with a row of values"),
        ("5\n6\n", "begins with numbers"),
        ("date;a\n2020-01-01;5\n", "separates its columns by semicolons: 'date;a'"),
        ("date;a\n2020-01-01;5,5\n", "separates its columns by semicolons"),
        ("date\ta\n2020-01-01\t5\n", "separates its columns by tabs"),
        ("date|a\n2020-01-01|5\n", "separates its columns by bars"),
        ('"a"\n"1" 1518.83\n', "'1 1518.83' is not a number; if columns are separated by blanks"),
        ('note,a\nx,"1,518.83"\n', "'1,518.83' is not a number; write numbers with a point, and without commas"),
        ("a,note\n1,x\n", "column note: 'x' is not a number; name another column by --column"),
        ("a\n1\nNA\n", "'NA' is not a number; fill in what is missing"),
        ("a\n1\n\n2\n", "line 3, column a: '' is not a number; fill in what is missing"),
        ("a\n1\n1e999\n", "'1e999' is not a number"),
        ("a\n1\n\x1a\n2\n", r"line 3, column a: '\\x1a' is not a number"),  # which ends the file nowhere else
        ("a\n1_000\n", "'1_000' is not a number"),
        ("a,date\n1,2020-01-01\n2,2020-01-02\n", "the last column, date, holds dates; name another by --column: a"),
        ("a,date\n1,20200101\n2,20200102\n", "the last column, date, holds dates"),
        ("a\n", "holds no values"),
        ("", "holds no values"),
    ],
)
def test_what_would_be_misread_is_refused(series, text, message):
    with pytest.raises(UserError, match=message):
        series(text)


@pytest.mark.parametrize("place", ["first", "middle", "last"])
@pytest.mark.parametrize("closed", [None, 21, 35])
def test_a_quote_that_is_not_closed_is_refused(series, place, closed):
    def row(i):
        quote = '"' if i in (20, closed) else ""
        cells = [HOURS[i], str(VALUES[i])]
        cells.insert({"first": 0, "middle": 1, "last": 2}[place], quote + "note")
        return ",".join(cells) + "\n"

    names = ["date", "value"]
    names.insert({"first": 0, "middle": 1, "last": 2}[place], "note")
    with pytest.raises(UserError, match="line 22 .*quote"):
        series(",".join(names) + "\n" + "".join(map(row, range(60))), "value")


def test_a_quote_in_the_line_of_names_and_one_before_long_text(series):
    with pytest.raises(UserError, match="line 1 opens a quote that is never closed"):
        series('note,"a\nx,1\ny,2\n')
    with pytest.raises(UserError, match="line 3 has a cell of more than 131,072 characters; is a quote not closed"):
        series('note,a\nx,1\n"y,2\n' + "z,3\n" * 50_000)
    with pytest.raises(UserError, match="line 2 opens a quote that is never closed"):
        series('note,a\nx,"1')


def test_lines_are_those_of_the_file(series, tmp_path):
    series("a\n1\n")
    (tmp_path / "a.csv").write_text('note,a\n"two\nlines",1\nx,2\n', encoding="utf-8")
    assert read_table(str(tmp_path / "a.csv")).lines == [2, 4]


# --- dates ----------------------------------------------------------------------------------------


def months(n):
    return [(2019 + i // 12, 1 + i % 12) for i in range(n)]


@pytest.mark.parametrize(
    "dates",
    [
        HOURS,
        [hour.replace(" ", "T") + ":00Z" for hour in HOURS],
        [hour + "+01:00" for hour in HOURS],
        [f"{i % 24:02}:00" for i in range(60)],  # times of no day: nothing to be said
        [f"{year}-{month:02}-01" for year, month in months(60)],
        [f"{year}-{month:02}" for year, month in months(60)],
        [f"{month:02}/01/{year}" for year, month in months(60)],
        [f"01/{month:02}/{year}" for year, month in months(60)],
        [f"1.{month}.{year} 00:00" for year, month in months(60)],
        [f"{1950 + i // 4}Q{1 + i % 4}" for i in range(60)],
        [str(1950 + i) for i in range(60)],
        [f"202001{1 + i:02}" for i in range(28)],
        [str(1577836800 + 3600 * i) for i in range(60)],
        *(
            [(datetime(2020, 1, 1) + timedelta(hours=i)).strftime(form) for i in range(60)]
            for form in (
                "%a %b %d %Y %H:%M:%S",
                "%d/%b/%Y:%H:%M:%S +0200",
                "%Y-%m-%dT%H:%M:%S.000000000Z",
                "%Y%m%dT%H%M",
                "%Y-%m-%d %H:%M UTC",
                "%Y.%m.%d %H",
                "%H:%M %d.%m.%y",
                "%d%b%Y %I:%M %p",
                "%A %d %B %Y %H:%M CET",
                "%Y年%m月%d日 %H:%M",
                "%Y%m%d%H",
                "%Y%m%d%H%M%S",
            )
        ),
        [(datetime(2020, 1, 1) + timedelta(weeks=i)).strftime("%G-W%V") for i in range(60)],
        [f"01/{1 + i:02}/2020" for i in range(31)],  # months first
        [f"{1 + i:02}/01/2020" for i in range(31)],  # days first
    ],
)
def test_dates_that_go_forward_by_equal_steps_are_no_matter(series, dates):
    found = series(table(dates))
    assert found.notes == () and found.values.tolist() == VALUES[: len(dates)]
    if dates[0] != "00:00":
        backwards = series(table(dates[::-1], VALUES[: len(dates)][::-1]))
        assert backwards.values.tolist() == VALUES[: len(dates)]
        assert backwards.notes == ("its dates go backwards; it is read from its last line to its first",)


def test_dates_that_are_shuffled_are_put_in_order(series):
    rows = list(zip(HOURS, VALUES))
    random.Random(0).shuffle(rows)
    found = series(table(*zip(*rows)))
    assert found.values.tolist() == VALUES
    assert found.notes == ("its dates are not in order; it is read in their order",)


def test_gaps_and_repetitions_are_told(series):
    kept = [i for i in range(60) if i % 7]
    found = series(table([HOURS[i] for i in kept], kept))
    assert found.values.tolist() == kept
    (told,) = found.notes
    assert told.startswith("its steps of time are 1:00:00, but 2:00:00 before line 8 (and 7 more)")
    found = series(table([hour for hour in HOURS for _ in range(2)], [value for value in VALUES for _ in range(2)]))
    assert found.notes[0].startswith("the date of line 3 (and 59 more) is there before")
    found = series(table([*HOURS[:5], "soon", *HOURS[6:]]))
    assert found.notes == ("line 7 has no date that can be read; the order is not looked at",)


def test_days_and_hours_in_columns_of_their_own(series):
    rows = [f"{hour[:10]},{i % 24},{i}" for i, hour in enumerate(HOURS)]
    for name, cells in (
        ("hr", rows),
        ("at", [",".join([hour[:10], hour[11:], str(i)]) for i, hour in enumerate(HOURS)]),
    ):
        assert series(f"date,{name},value\n" + "\n".join(cells)).notes == ()
        assert series(f"date,{name},value\n" + "\n".join(cells[::-1])).values.tolist() == VALUES


def test_parts_of_dates_in_columns_of_their_own(series):
    days = [datetime(2020, 2, 27) + timedelta(hours=i) for i in range(60)]
    rows = [f"{day.year},{day.month},{day.day},{day.hour},{i}" for i, day in enumerate(days)]
    for order in (rows, rows[::-1]):
        assert series("Year,Month,day,hour,value\n" + "\n".join(order)).values.tolist() == VALUES
    assert series("Year,Month,day,hour,value\n" + "\n".join(rows)).notes == ()
    monthly = [f"{year},{month},{i}" for i, (year, month) in enumerate(months(60))]
    found = series("year,month,value\n" + "\n".join(monthly[48:] + monthly[:48]))  # the newest year first
    assert found.values.tolist() == VALUES and found.notes == ("its dates are not in order; it is read in their order",)


@pytest.mark.parametrize("dates", [["31 janvier 2020", "1 fevrier 2020"], ["2020-031", "2020-030"], ["a", "b"]])
def test_dates_in_a_form_that_is_not_read_are_told(series, dates):
    assert series(table(dates)).notes == (
        "line 2 (and 1 more) has no date that can be read; the order is not looked at",
    )
    assert len(series(table(dates, name="when")).notes) == (dates[0] != "a")


def test_numbers_are_dates_only_where_the_column_is_called_so(series):
    numbers = [(7 * i) % 60 for i in range(60)]
    assert series(table(numbers, name="load")).notes == ()
    found = series(table(numbers, name="time"))
    assert found.values.tolist() == VALUES and found.notes == ("its times are not in order; it is read as it is",)


def test_what_is_a_date():
    for text in (
        "2020-01-31",
        "31.1.2020",
        "1/31/2020 1:05 PM",
        "Jan 31, 2020",
        "2020-Q1",
        "2020-01",
        "2020-01-31T00:00:00Z",
    ):
        assert is_date(text), text
    for text in ("", "2020", "5.5", "value", "2020-13-01", "20Q1", "1.5-2", "5-20", "flow 12", "1/2/3/4"):
        assert not is_date(text), text
    assert times_of(["a", "b"], [["1", "2"]], 1) is None
    assert in_order([0.0, 1.0, 2.0], False, [2, 3, 4]) == ([0, 1, 2], [])
