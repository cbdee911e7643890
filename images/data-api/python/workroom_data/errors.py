"""What can go wrong, as a tree. Every message names the field, the value and the fix.

DataError
├── SettingsError        the warehouse or a server is not configured
├── FrameError           a column, row or value cannot be stored exactly
├── SchemaError          the frame and the table do not fit
├── PartitionError       a partition key or value is unusable
├── NotFound             no such database, table, partition, batch or anchor
├── Conflict             somebody else committed first (`expect`), or a name is taken
├── Damaged              a file is not what its commit says
└── Unavailable          the S3 server or the metastore does not answer
"""

from __future__ import annotations


class DataError(Exception):
    """Root of all errors of this package; its text is for people.

    Attributes:
        fix: What to do about it, a sentence, or "".
    """

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(f"{message} {fix}".strip())
        self.message = message
        self.fix = fix


class SettingsError(DataError):
    """The warehouse, the metastore or the S3 server is not configured."""


class FrameError(DataError):
    """A column, a row or a value cannot be stored exactly."""


class SchemaError(DataError):
    """The frame and the table do not fit."""


class PartitionError(DataError):
    """A partition key or value is unusable."""


class NotFound(DataError):
    """There is no such database, table, partition, batch or anchor."""


class Conflict(DataError):
    """Somebody else was first.

    Attributes:
        batch_id: The batch of the one who lost; its files are kept, uncommitted. "" if none.
    """

    def __init__(self, message: str, fix: str = "", batch_id: str = "") -> None:
        super().__init__(message, fix)
        self.batch_id = batch_id


class Damaged(DataError):
    """A file is not what its commit says: length or checksum differ, or it is gone."""


class Unavailable(DataError):
    """The S3 server or the metastore does not answer, or refuses us."""


def checked_note(note: object) -> str:
    """Return a note for the history; None is none.

    Raises:
        DataError: It is not text that a commit can hold.
    """
    if note is None:
        return ""
    if isinstance(note, str) and not any("\ud800" <= letter <= "\udfff" for letter in note):
        return note
    raise DataError(f"note is {note!r}.", "Give text, or leave it out.")


class DataWarning(UserWarning):
    """Something the caller should know; what was asked for has been done."""
