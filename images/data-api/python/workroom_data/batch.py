"""What a store gives back: which batch is current now, and what is in it."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from workroom_data.commits import Commit, StoredColumn


@dataclass(frozen=True, repr=False)
class Batch:
    """One batch, as a commit made it current.

    Attributes:
        batch_id: Its ID (`20260301T120000Z-1a2b3c4d`): for `batch_id=` of a load, `expect=`.
        number: Number of the commit that made it current.
        database, table: Names.
        partition: `year=2016/month=3`, or "" of an unpartitioned table.
        rows: Rows in it.
        size: Bytes of its files.
        location: Its folder.
        columns: Its columns, with the types they were given.
        new_table: The table did not exist before.
    """

    batch_id: str
    number: int
    database: str
    table: str
    partition: str
    rows: int
    size: int
    location: str
    columns: tuple[StoredColumn, ...] = ()
    new_table: bool = False

    @classmethod
    def of(cls, commit: Commit, partition: str, *, new_table: bool = False) -> Batch:
        """Return the batch that `commit` made current in `partition` (its name in paths)."""
        return cls(
            commit.batch_id,
            commit.number,
            commit.database,
            commit.table,
            partition,
            commit.rows,
            commit.size,
            commit.location,
            commit.columns,
            new_table,
        )

    @property
    def where(self) -> str:
        """`sales.orders year=2016`."""
        return f"{self.database}.{self.table} {self.partition}".rstrip()

    def __repr__(self) -> str:
        lines = [
            f"{self.where}: {self.rows:,} row{'' if self.rows == 1 else 's'}, "
            f"{readable(self.size)}, batch {self.batch_id}, commit {self.number}"
        ]
        if self.new_table:
            lines.append(f"New table {self.database}.{self.table}:")
            width = max((len(column.name) for column in self.columns), default=0)
            lines += [f"  {column.name:<{width}}  {column.hive}" for column in self.columns]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """The same for a notebook."""
        pairs = {
            "Table": f"{self.database}.{self.table}",
            "Partition": self.partition or "none (the table is not partitioned)",
            "Batch": self.batch_id,
            "Commit": str(self.number),
            "Rows": f"{self.rows:,}",
            "Size": readable(self.size),
        }
        rows = "".join(
            f"<tr><th style='text-align:left'>{escape(name)}</th>"
            f"<td style='text-align:left'>{escape(value)}</td></tr>"
            for name, value in pairs.items()
        )
        html = f"<table>{rows}</table>"
        if self.new_table:
            types = "".join(
                f"<tr><td style='text-align:left'>{escape(column.name)}</td>"
                f"<td style='text-align:left'>{escape(column.hive)}</td></tr>"
                for column in self.columns
            )
            html += (
                "<details><summary>The table is new; its columns</summary>"
                f"<table><tr><th>Column</th><th>Hive type</th></tr>{types}</table></details>"
            )
        return html


def readable(size: float) -> str:
    """Return a number of bytes for people: `12.3 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
