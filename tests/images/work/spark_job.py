"""A Spark job that touches all the image must keep of Spark; prints facts about itself."""
# ruff: noqa: S608

import os
from pathlib import Path

from pyspark.ml.linalg import Vectors
from pyspark.ml.regression import LinearRegression
from pyspark.sql import SparkSession
from pyspark.sql.functions import pandas_udf

spark = SparkSession.builder.enableHiveSupport().getOrCreate()
assert spark.conf.get("spark.sql.catalogImplementation") == "hive"

# Tables in Hive's metastore, every codec with native code.
spark.range(100).selectExpr("id", "id % 3 AS k").createOrReplaceTempView("v")
for codec in ("snappy", "zstd", "lz4", "gzip"):
    spark.sql(
        f"CREATE TABLE t_{codec} USING parquet OPTIONS (compression '{codec}') "
        "PARTITIONED BY (k) AS SELECT * FROM v"
    )
    assert spark.sql(f"SELECT sum(id) FROM t_{codec} WHERE k = 1").collect()[0][0] == 1617
spark.sql(
    "CREATE EXTERNAL TABLE text (a STRING, b INT) PARTITIONED BY (p STRING) "
    "ROW FORMAT SERDE 'org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe' "
    f"WITH SERDEPROPERTIES ('field.delim'='0') STORED AS TEXTFILE LOCATION '{os.getcwd()}/text'"
)
spark.sql("INSERT INTO text PARTITION (p = 'x') VALUES ('one', 1)")
assert spark.sql("SHOW PARTITIONS text").collect()[0][0] == "p=x"
assert spark.table("text").collect()[0].b == 1


@pandas_udf("long")
def plus_one(series):
    """Runs in a Python worker, over Arrow."""
    return series + 1


assert spark.range(5).select(plus_one("id")).toPandas().iloc[:, 0].sum() == 15

rows = [(float(i), Vectors.dense(float(i))) for i in range(9)]
frame = spark.createDataFrame(rows, ["label", "features"])
assert abs(LinearRegression().fit(frame).coefficients[0] - 1) < 1e-6
spark._jvm.org.rocksdb.RocksDB.loadLibrary()

print("threads", spark.sparkContext.defaultParallelism)
print("heap", round(spark._jvm.java.lang.Runtime.getRuntime().maxMemory() / 2**20))
listening = set()
for table in ("/proc/net/tcp", "/proc/net/tcp6"):
    for line in Path(table).read_text().splitlines()[1:]:
        local, state = line.split()[1], line.split()[3]
        if state == "0A":
            listening.add(local.split(":")[0])
print("listening", ",".join(sorted(listening)))
