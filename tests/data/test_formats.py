"""Files of a batch: of bounded size, in row order, and compared with what the commit says."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import random
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from workroom_data import formats, text
from workroom_data import parquet as parquet_format
from workroom_data.commits import File, StoredColumn
from workroom_data.errors import Conflict, Damaged, FrameError, NotFound, SchemaError
from workroom_data.formats import Format
from workroom_data.frames import to_arrow
from workroom_data.settings import Settings
from workroom_data.storage import Storage

ROWS = 10_000
TABLE = pa.table(
    {
        "Id": pa.array(range(ROWS)),
        "word": pa.array([f"row {n} \\ \n\0é" for n in range(ROWS)]),
        "kind": pa.array([("red", "green", None)[n % 3] for n in range(ROWS)]).dictionary_encode(),
    }
)
COLUMNS = to_arrow(TABLE)[1]


@pytest.fixture
def storage() -> Storage:
    return Storage(Settings("/nowhere", "thrift://nowhere:1"))


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "batch")


@pytest.fixture(params=["text", "parquet"])
def form(request: pytest.FixtureRequest) -> Format:
    return formats.named(request.param)


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "FILE_BYTES", 50_000)


def write(form: Format, storage: Storage, folder: str) -> tuple[File, ...]:
    return form.write(storage, folder, TABLE, COLUMNS)


def plain(table: pa.Table) -> pa.Table:
    """Return the table with categories as text: their codes differ with the order of values."""
    at = table.column_names.index("kind")
    return table.set_column(at, "kind", table.column(at).cast(pa.string()))


def there(folder: str) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


# ---- Writing ------------------------------------------------------------------------------


def test_a_commit_knows_name_rows_size_and_checksum(
    form: Format, storage: Storage, folder: str
) -> None:
    (file,) = write(form, storage, folder)
    content = (Path(folder) / file.name).read_bytes()
    assert file.name == f"part-00000{form.suffix}"
    assert file.rows == ROWS
    assert file.size == len(content)
    assert file.checksum == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert there(folder) == [file.name]


def test_files_are_of_bounded_size_and_in_row_order(
    form: Format, storage: Storage, folder: str, small_files: None
) -> None:
    files = write(form, storage, folder)
    assert len(files) > 5
    assert there(folder) == [f"part-{n:05d}{form.suffix}" for n in range(len(files))]
    assert there(folder) == [file.name for file in files]
    assert sum(file.rows for file in files) == ROWS
    assert max(file.rows for file in files) * TABLE.nbytes / ROWS <= 50_000
    assert max(file.rows for file in files) - min(file.rows for file in files[:-1]) <= 1
    assert plain(form.read(storage, folder, files, COLUMNS)).equals(plain(TABLE))


def test_each_file_is_whole_by_itself(
    form: Format, storage: Storage, folder: str, small_files: None
) -> None:
    """As Hive and Spark read them, in any order."""
    files = write(form, storage, folder)
    start = 0
    for file in files:
        path = Path(folder) / file.name
        if form is formats.TEXT:
            assert gzip.decompress(path.read_bytes()).count(b"\n") == file.rows
        else:
            assert pq.ParquetFile(path).metadata.num_rows == file.rows
        part = form.read(storage, folder, [file], COLUMNS)
        assert plain(part).equals(plain(TABLE.slice(start, file.rows)))
        start += file.rows


def test_a_file_is_made_in_portions(
    form: Format, storage: Storage, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A storage gets a part as soon as it is made, and progress is told in between."""
    monkeypatch.setattr(text, "PIECE_BYTES", 50_000)
    monkeypatch.setattr(parquet_format, "ROW_GROUP_BYTES", 50_000)
    told: list[int] = []
    (file,) = dataclasses.replace(form, portion=50_000).write(
        storage, folder, TABLE, COLUMNS, told.append
    )
    assert sum(told) == ROWS
    assert len([rows for rows in told if rows]) > 5
    if form is formats.PARQUET:
        groups = pq.ParquetFile(f"{folder}/{file.name}").metadata
        assert groups.num_row_groups > 5
    assert plain(form.read(storage, folder, [file], COLUMNS)).equals(plain(TABLE))


def test_no_rows_are_a_file_too(form: Format, storage: Storage, folder: str) -> None:
    (file,) = form.write(storage, folder, TABLE.slice(0, 0), COLUMNS)
    assert file.rows == 0
    assert there(folder) == [file.name]
    back = form.read(storage, folder, [file], COLUMNS)
    assert plain(back).schema == plain(TABLE).schema
    assert back.num_rows == 0


def test_a_value_that_does_not_fit_is_found_before_anything_is_written(
    form: Format, storage: Storage, folder: str, small_files: None
) -> None:
    big = pa.array([0] * (ROWS - 1) + [10**38], pa.decimal256(60, 0))
    table = TABLE.append_column("big", big)
    columns = to_arrow(table)[1]
    with pytest.raises(FrameError, match=f"Column 'big', row {ROWS - 1}: "):
        form.write(storage, folder, table, columns)
    assert not Path(folder).exists()


def test_nothing_is_written_over(form: Format, storage: Storage, folder: str) -> None:
    (file,) = write(form, storage, folder)
    before = (Path(folder) / file.name).read_bytes()
    with pytest.raises(Conflict):
        form.write(storage, folder, TABLE.slice(0, 1), COLUMNS)
    assert (Path(folder) / file.name).read_bytes() == before


def test_there_are_two_formats() -> None:
    assert [formats.named(name).suffix for name in ("text", "parquet")] == [".gz", ".parquet"]
    with pytest.raises(SchemaError, match=r"format is 'csv'. Use 'text' or 'parquet'."):
        formats.named("csv")


# ---- Reading ------------------------------------------------------------------------------


def test_only_the_columns_that_are_wanted_in_that_order(
    form: Format, storage: Storage, folder: str, small_files: None
) -> None:
    files = write(form, storage, folder)
    back = form.read(storage, folder, files, COLUMNS, ["kind", "Id"])
    assert back.column_names == ["kind", "Id"]
    assert plain(back).equals(plain(TABLE).select(["kind", "Id"]))


def test_no_column_is_every_row_of_none(form: Format, storage: Storage, folder: str) -> None:
    files = write(form, storage, folder)
    assert form.read(storage, folder, files, COLUMNS, []).num_columns == 0


def test_progress_is_told_in_bytes(
    form: Format, storage: Storage, folder: str, small_files: None
) -> None:
    files = write(form, storage, folder)
    told: list[int] = []
    form.read(storage, folder, files, COLUMNS, tell=told.append)
    assert told == [file.size for file in files]


@pytest.mark.parametrize("which", [0, 3, -1])
def test_a_file_that_differs_anywhere_is_refused(
    form: Format, storage: Storage, folder: str, small_files: None, which: int
) -> None:
    files = write(form, storage, folder)
    path = Path(folder) / files[which].name
    good = path.read_bytes()
    chance = random.Random(which)  # noqa: S311
    for at in (0, len(good) - 1, *(chance.randrange(len(good)) for _ in range(8))):
        path.write_bytes(good[:at] + bytes([good[at] ^ 1 << chance.randrange(8)]) + good[at + 1 :])
        with pytest.raises(Damaged, match=f"{path.name} is not what was written"):
            form.read(storage, folder, files, COLUMNS)
    path.write_bytes(good)
    assert form.read(storage, folder, files, COLUMNS).num_rows == ROWS


@pytest.mark.parametrize("change", ["shorter", "longer", "empty", "gone", "exchanged"])
def test_a_file_that_is_not_whole_is_refused(
    form: Format, storage: Storage, folder: str, small_files: None, change: str
) -> None:
    files = write(form, storage, folder)
    path, other = Path(folder) / files[2].name, Path(folder) / files[1].name
    good = path.read_bytes()
    said = f"has .* bytes; its commit says {len(good)}"
    if change == "gone":
        path.unlink()
        said = "is gone"
    elif change == "exchanged":
        path.write_bytes(other.read_bytes())
        said = "has .* bytes|is not what was written"
    else:
        path.write_bytes({"shorter": good[:-1], "longer": good + b"\n", "empty": b""}[change])
    with pytest.raises(Damaged, match=f"{path.name} ({said})") as caught:
        form.read(storage, folder, files, COLUMNS)
    assert "history" in caught.value.fix


def test_a_count_of_rows_that_differs_is_refused(
    form: Format, storage: Storage, folder: str
) -> None:
    (file,) = write(form, storage, folder)
    wrong = dataclasses.replace(file, rows=ROWS + 1)
    with pytest.raises(Damaged, match=f"has {ROWS} rows; its commit says {ROWS + 1}"):
        form.read(storage, folder, [wrong], COLUMNS)


def test_a_checksum_of_a_kind_from_the_future_is_not_passed_over(
    form: Format, storage: Storage, folder: str
) -> None:
    (file,) = write(form, storage, folder)
    later = dataclasses.replace(file, checksum="blake3:00")
    with pytest.raises(Damaged, match=r"'blake3'.* Upgrade workroom-data"):
        form.read(storage, folder, [later], COLUMNS)


def test_a_strangers_file_is_read_as_it_is(form: Format, storage: Storage, folder: str) -> None:
    (file,) = write(form, storage, folder)
    unknown = File(file.name, 0, 0, "")
    assert plain(form.read(storage, folder, [unknown], COLUMNS)).equals(plain(TABLE))
    (Path(folder) / file.name).unlink()
    with pytest.raises(NotFound):
        form.read(storage, folder, [unknown], COLUMNS)


def test_no_files_are_no_rows(form: Format, storage: Storage, folder: str) -> None:
    back = form.read(storage, folder, [], COLUMNS, ["word", "Id"])
    assert back.schema == pa.schema([("word", pa.string()), ("Id", pa.int64())])
    assert back.num_rows == 0


def test_a_column_stored_as_a_wider_type(form: Format, storage: Storage, folder: str) -> None:
    """What a narrower frame becomes in a table that is wider."""
    table = pa.table({"a": pa.array([1, None, -128], pa.int8())})
    columns = (StoredColumn("a", "bigint", "int8"),)
    files = form.write(storage, folder, table, columns)
    back = form.read(storage, folder, files, columns)
    assert back.column(0).to_pylist() == [1, None, -128]
    assert back.schema.field(0).type == pa.int64()
