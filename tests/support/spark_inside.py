"""The part of spark_sql.py that runs in the container, with the image's Python."""

import json
import os
import sys

from workroom_server import spark_data

spark_data.prepare(os.environ)

from pyspark.sql import SparkSession  # noqa: E402 - it looks at the environment
from pyspark.sql import functions as F  # noqa: E402

spark = SparkSession.builder.appName("tests").getOrCreate()


def written(frame):
    """Columns as text: Spark's own `collect` fails for the year 1."""
    chosen = []
    for name, kind in frame.dtypes:
        column = frame[f"`{name.replace('`', '``')}`"]
        nested = kind.startswith(("array", "map", "struct"))
        text = F.hex(column) if kind == "binary" else F.to_json(column) if nested else column
        chosen.append(text.cast("string"))
    return frame.select(*chosen)


def answer(asked):
    frame = spark.sql(asked["sql"])
    return {"columns": frame.dtypes, "rows": [list(row) for row in written(frame).collect()]}


print("spark is ready", flush=True)
for line in sys.stdin:
    try:
        said = answer(json.loads(line))
    except Exception as error:
        said = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(said), flush=True)
spark.stop()
