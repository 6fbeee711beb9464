"""awswrangler and s3fs on the embedded store."""

import sys

import awswrangler as wr
import pandas
import s3fs

data = pandas.read_csv(sys.argv[1])
fs = s3fs.S3FileSystem()

fs.mkdir("files-client")
fs.put(sys.argv[1], "files-client/in/a.csv")
with fs.open("files-client/in/b.txt", "wb") as file:
    file.write(b"x" * 6_000_000)
assert fs.ls("files-client/in") == ["files-client/in/a.csv", "files-client/in/b.txt"]
assert fs.info("files-client/in/b.txt")["size"] == 6_000_000
assert pandas.read_csv("s3://files-client/in/a.csv").equals(data)
fs.copy("files-client/in/a.csv", "files-client/in.csv")
fs.invalidate_cache()
assert fs.find("files-client") == ["files-client/in.csv", "files-client/in/a.csv", "files-client/in/b.txt"]
fs.rm("files-client/in", recursive=True)
fs.invalidate_cache()
assert not fs.exists("files-client/in")
assert fs.ls("files-client") == ["files-client/in.csv"]

uri = "s3://files-client/table"
wr.s3.to_parquet(data, uri, dataset=True, partition_cols=["target"], mode="overwrite")
wr.s3.to_parquet(data, uri, dataset=True, partition_cols=["target"], mode="append")
assert len(wr.s3.read_parquet(uri, dataset=True)) == 2 * len(data)
assert len(wr.s3.list_objects(uri)) >= 4
assert wr.s3.list_directories("s3://files-client/") == ["s3://files-client/table/"]
wr.s3.to_csv(data, "s3://files-client/plain.csv", index=False)
assert wr.s3.read_csv("s3://files-client/plain.csv").equals(data)
assert wr.s3.does_object_exist("s3://files-client/plain.csv")
wr.s3.delete_objects("s3://files-client/")
assert wr.s3.list_objects("s3://files-client/") == []
fs.invalidate_cache()
fs.rmdir("files-client")
assert not fs.exists("files-client")
