"""The second engine: portable queries on Spark, over the same lake. Sole user of pyspark.

Spark reads the Parquet segments itself, local or on object storage; which loads count is asked of
the lake first, so that both engines see the same rows. Results agree to 1e-9: sums differ in their
last bits, as their order does. Needs the extra `spark` and Java 17 or newer.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from chainwatch.errors import UsageError
from chainwatch.lake import query
from chainwatch.lake.engine import Result
from chainwatch.lake.portable import expanded, faults
from chainwatch.lake.query import Query
from chainwatch.lake.relations import stated_query
from chainwatch.lake.store import Store
from chainwatch.tables.base import columns
from chainwatch.tables.log import Load
from chainwatch.tables.registry import tables

_KINDS = {
    "string": "VARCHAR",
    "double": "DOUBLE",
    "bigint": "BIGINT",
    "int": "INTEGER",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "timestamp": "TIMESTAMPTZ",
}


class Spark:
    """A Spark session over one lake; close it when done."""

    def __init__(
        self,
        store: Store,
        master: str = "local[*]",
        *,
        memory: str = "2g",
        options: Mapping[str, str] = {},
    ) -> None:
        """Start, or reach, Spark. Raises UsageError where it, or Java, is not there."""
        try:
            from pyspark.sql import SparkSession
        except ImportError:
            raise UsageError(
                "--engine spark needs pyspark: install chainwatch with the extra `spark`"
            ) from None
        if not os.environ.get("JAVA_HOME") and shutil.which("java") is None:
            raise UsageError("--engine spark needs Java 17 or newer: install it or set JAVA_HOME")
        store.require()
        self._store = store
        builder = SparkSession.builder.master(master).appName("chainwatch")
        settings = {
            "spark.sql.session.timeZone": "UTC",
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
            "spark.driver.memory": memory,
            "spark.sql.shuffle.partitions": "8",
            "spark.sql.parquet.mergeSchema": "true",
        } | dict(options)
        if master.startswith("local"):
            # Else Spark looks up this machine's name, which need not resolve.
            os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
            settings |= {
                "spark.driver.bindAddress": "127.0.0.1",
                "spark.driver.host": "127.0.0.1",
            }
        for name, value in settings.items():
            builder = builder.config(name, value)
        try:
            self._session: Any = builder.getOrCreate()
        except Exception as failure:
            reason = " ".join(str(failure).split())[:300]
            raise UsageError(f"Spark at {master} cannot be reached: {reason}") from None
        self._session.sparkContext.setLogLevel("ERROR")
        # It logs every failed statement once more, with Spark's own stack; ours is one line.
        logging.getLogger("SQLQueryContextLogger").setLevel(logging.CRITICAL)
        self._registered: set[str] = set()
        self._refreshed = False
        self._has_periods = False

    def close(self) -> None:
        self._session.stop()

    def __enter__(self) -> Spark:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def refresh(self) -> None:
        """Look at the lake as it is now; done once by itself before the first query."""
        with query.open_catalog(self._store) as catalog:
            loads = catalog.run("SELECT load, period FROM loads ORDER BY load").rows
        self._has_periods = any(period for _, period in loads)
        frame = self._session.createDataFrame([(load,) for load, _ in loads], "load string")
        frame.createOrReplaceTempView("current_loads")
        self._registered.clear()
        self._refreshed = True

    def text(self, sql_query: Query, values: Mapping[str, object] = {}) -> str:
        """The query as Spark SQL, parameters and the queries it reads inside.

        Raises UsageError where it is not portable.
        """
        obstacles = faults(sql_query)
        if not sql_query.portable or obstacles:
            why = f": line {obstacles[0].line}, {obstacles[0].reason}" if obstacles else ""
            portable = ", ".join(q.name for q in query.load_all().values() if q.portable)
            raise UsageError(f"{sql_query.name} is not portable{why}; these are: {portable}")
        unknown = set(values) - {p.name for p in sql_query.params}
        if unknown:
            raise UsageError(f"{sql_query.name} has no parameter {', '.join(sorted(unknown))}")
        return str(expanded(sql_query, values).sql(dialect="spark", comments=False))

    def run(self, sql_query: Query, values: Mapping[str, object] = {}) -> Result:
        """Run a portable query; UsageError carries Spark's own message in one line."""
        text = self.text(sql_query, values)
        if not self._refreshed:
            self.refresh()
        for name in tables():
            if name not in self._registered and re.search(rf"\b{name}\b", text):
                self._register(name)
        try:
            frame = self._session.sql(text)
            rows = frame.collect()
        except Exception as failure:
            reason = " ".join(str(failure).split("\n\nJVM")[0].split())[:400]
            raise UsageError(f"Spark: {reason}") from None
        kinds = [_KINDS.get(kind, kind.upper()) for _, kind in frame.dtypes]
        return Result(tuple(frame.columns), tuple(kinds), [tuple(_values(row)) for row in rows])

    def _register(self, name: str) -> None:
        """A table as a view over its segments: rows of loads that count, each key once.

        Of a table that the program states, the view is of the same SQL as in the catalog.
        """
        row = tables()[name]
        if row.stated_by:
            self._create_view(name, stated_query(row))
            return
        folder = self._store.lake / name
        reader = self._session.read.option("basePath", str(folder))
        names = [*(part for column in columns(row) for part, _ in column.stored), "load"]
        frame = reader.parquet(str(folder / "day=*")).select(*names)
        if self._has_periods:
            frame = reader.parquet(str(folder / "period=*")).select(*names).unionByName(frame)
        frame.createOrReplaceTempView(f"{name}_segments")
        body = f"SELECT {', '.join(names)} FROM {name}_segments"
        if row is not Load:
            body += " WHERE load IN (SELECT load FROM current_loads)"
        if row.repeats:
            body += (
                f" QUALIFY row_number() OVER (PARTITION BY {', '.join(row.key)} ORDER BY load) = 1"
            )
        self._create_view(name, body)

    def _create_view(self, name: str, body: str) -> None:
        import sqlglot

        text = sqlglot.transpile(body, read="duckdb", write="spark")[0]
        self._session.sql(f"CREATE OR REPLACE TEMP VIEW {name} AS {text}")
        self._registered.add(name)


def _values(row: Iterable[Any]) -> Iterable[Any]:
    for value in row:
        # Spark hands out times in this machine's zone, without saying so.
        yield value.astimezone(UTC) if isinstance(value, datetime) else value
