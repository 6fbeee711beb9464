import bz2
import gzip
from types import SimpleNamespace

import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from airflow_automl.local.errors import JobFailure
from airflow_automl.local.training.data import sniff, typed
from airflow_automl.local.training.data.table import read_parquet


def read_csv(files):
    [found] = typed.read([files], [], strings=True)
    return found


URI = "s3://b/data.csv"


def write(tmp_path, content, name="data.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_quoted_values_may_hold_commas_and_lines(tmp_path):
    path = write(tmp_path, '\ufeffname,"a,b"\n"one\ntwo",3\nx,\n')
    assert read_csv([(path, URI)]).to_pylist() == [{"name": "one\ntwo", "a,b": "3"}, {"name": "x", "a,b": ""}]


def test_files_with_the_same_columns_in_another_order_are_joined(tmp_path):
    one, two = write(tmp_path, "a,b\n1,2\n", "1"), write(tmp_path, "b,a\n4,3\n", "2")
    assert read_csv([(one, "s3://b/1"), (two, "s3://b/2")]).to_pylist() == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]


def test_a_file_with_other_columns_is_named(tmp_path):
    one, two = write(tmp_path, "a,b\n1,2\n", "1"), write(tmp_path, "a,c\n1,2\n", "2")
    with pytest.raises(
        JobFailure, match="The header of s3://b/2 differs from that of s3://b/1: it lacks 'b' and it also has 'c'"
    ):
        read_csv([(one, "s3://b/1"), (two, "s3://b/2")])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"  \n\n", "is empty"),
        (b"a,b\n1,2\n1,2,3\n", "row 3 has 3 values where the header has 2 columns"),
        (b"a,b\n1,2\n1\n", "row 3 has 1 values where the header has 2 columns"),
        (b"a,a\n1,2\n", "the column 'a' more than once"),
        (b"PAR1....PAR1", "is not CSV but Parquet: set the channel's ContentType"),
        (gzip.compress(b"a,b\n1,2\n", mtime=0), "gzip-compressed: set the channel's CompressionType to Gzip"),
        (b"PK\x03\x04....", "a ZIP archive"),
        (bz2.compress(b"a,b\n1,2\n", 3), "a bzip2 archive"),
        (b"ORC\n\x06\x12\x00\x82\xf4\x03\x03ORC\x17", "an ORC file"),
        (b"\x89PNG\r\n\x1a\n", "a PNG image"),
        (b"a,b\n1,\x00\n", "binary data"),
        ("a,b\nä,1\n".encode("latin-1"), "not UTF-8"),
        ("a,b\n1,2\n".encode("utf-16"), "UTF-16"),
    ],
)
def test_a_file_that_is_not_a_table_is_refused_with_the_reason(tmp_path, content, reason):
    with pytest.raises(JobFailure, match=reason) as failure:
        read_csv([(write(tmp_path, content), URI)])
    assert URI in failure.value.reason


@pytest.mark.parametrize("name", ["ORCID", "ORC", "PAR1", "BZh9", "Objection", "PK", "sep", "RIFF", "GIF89a"])
def test_a_column_may_have_the_name_of_a_format(tmp_path, name):
    table = read_csv([(write(tmp_path, f"{name},b\n1,ORC\n".encode()), URI)])
    assert table.column_names == [name, "b"]


def test_bytes_that_are_not_utf8_far_into_the_file_are_found(tmp_path):
    path = write(tmp_path, b"a,b\n" + b"1,ok\n" * 200_000 + "2,ä\n".encode("latin-1"))
    with pytest.raises(JobFailure, match=r"s3://b/data\.csv is not UTF-8 text in the column 'b'"):
        read_csv([(path, URI)])


def test_a_column_without_a_name_gets_one(tmp_path):
    assert read_csv([(write(tmp_path, ",a\n1,2\n"), URI)]).column_names == ["Unnamed: 0", "a"]


def test_parquet_columns_are_typed(tmp_path):
    path = tmp_path / "data.parquet"
    pd.DataFrame({"zip": ["01000", "2"], "n": [1, 2]}).to_parquet(path)
    assert read_parquet([(path, URI)]).to_pylist() == [{"zip": "01000", "n": 1}, {"zip": "2", "n": 2}]


def test_row_labels_of_pandas_are_not_a_column(tmp_path):
    pd.DataFrame({"a": [1, 2]}, index=[7, 9]).to_parquet(tmp_path / "data.parquet")
    assert read_parquet([(tmp_path / "data.parquet", URI)]).column_names == ["a"]


@pytest.mark.parametrize("content", [b"a,b\n1,2\n", b"PAR1 cut"])
def test_a_file_that_is_not_parquet_is_refused(tmp_path, content):
    with pytest.raises(JobFailure, match=r"is not Parquet, but the channel's ContentType is"):
        read_parquet([(write(tmp_path, content), URI)])


def test_a_column_that_parquet_has_twice_is_named(tmp_path):
    pa.parquet.write_table(pa.Table.from_arrays([pa.array([1])] * 2, names=["a", "a "]), tmp_path / "data.parquet")
    with pytest.raises(JobFailure, match="has the column 'a' more than once"):
        read_parquet([(tmp_path / "data.parquet", URI)])


def test_parquet_files_of_different_types_are_text_if_no_other_type_holds_all_values(tmp_path):
    for name, values in (("1", [1]), ("2", ["x"]), ("3", [None])):
        pd.DataFrame({"a": values}).to_parquet(tmp_path / name)
    found = read_parquet([(tmp_path / name, f"s3://b/{name}") for name in "123"])
    assert found.column("a").to_pylist() == ["1", "x", None]


def test_gzip_is_unpacked_and_damage_is_named(tmp_path):
    packed = gzip.compress(b"a,b\n1,2\n" * 1000)
    unpacked = sniff.decompress(write(tmp_path, packed), URI, 10_000)
    assert unpacked.read_bytes().startswith(b"a,b\n1,2\n")
    for damaged in (packed[:40], packed[:20] + b"\xff\xff\x00" + packed[23:]):
        with pytest.raises(JobFailure, match="damaged gzip"):
            sniff.decompress(write(tmp_path, damaged), URI, 10_000)
    with pytest.raises(JobFailure, match="not gzip-compressed, but the channel's CompressionType is Gzip"):
        sniff.decompress(write(tmp_path, b"a,b\n"), URI, 10_000)


@pytest.mark.parametrize(("limit", "free"), [(100_000, 10**9), (10**9, 100_000)])
def test_a_small_object_that_unpacks_to_a_huge_one_is_refused_before_it_fills_the_disk(
    tmp_path, monkeypatch, limit, free
):
    monkeypatch.setattr(sniff, "_CHUNK", 10_000)
    monkeypatch.setattr(sniff.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    path = write(tmp_path, gzip.compress(b"1,2\n" * 10**6))
    with pytest.raises(JobFailure, match=f"{URI} unpacks to more than"):
        sniff.decompress(path, URI, limit)
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 200_000
