"""The names of columns: how headers, frames and documents name them, and which of them must be there (R26)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from airflow_automl.local.errors import JobFailure, listing

UNNAMED = "Unnamed: "
"""What the name of a column begins with that has none; its position follows."""
_BLANKS = "".join(filter(str.isspace, map(chr, range(0x3001)))) + "\u200b\u2060\ufeff"
"""White space, and what is no wider than nothing: a zero width space, and a byte order mark."""


def trimmed(text: str) -> str:
    """A text without the blanks around it, of whatever kind."""
    return text.strip(_BLANKS)


def require(columns: Sequence[str], where: str, wanted: Mapping[str, str]) -> None:
    """Refuse data that lack a column.

    :param columns: what the data have.
    :param where: what the data are, for the message.
    :param wanted: column → what it is for, such as ``target column``.
    :raises JobFailure: a column does not exist; the message names those that do, and similar ones.
    """
    for column, role in wanted.items():
        if column in columns:
            continue
        alike = [other for other in columns if other.lower() == trimmed(column).lower()]
        hint = f" Did you mean '{alike[0]}'?" if alike else separator_hint(columns)
        raise JobFailure(f"The {role} '{column}' is not in {where}; its columns are {listing(columns, 20)}.{hint}")


def names_of(cells: Sequence[object]) -> list[str]:
    """The names of columns: without blanks around them; a column without a name gets one from its position."""
    names = [trimmed(str(cell)) for cell in cells]
    return [name or f"{UNNAMED}{position}" for position, name in enumerate(names)]


def locate(given: Sequence[object], wanted: Sequence[str]) -> tuple[list[int], list[str]]:
    """Where some columns are among those of a header, of a frame, or of a JSON document.

    :param given: the names as they are written; others than those that are wanted may be among them.
    :param wanted: names of columns, as training has them.
    :return: the position of each wanted column, and those that are not there.
    :raises ValueError: all are there, and one of them twice.
    """
    cells = [trimmed(str(cell)) for cell in given]
    found = {name: position for position, name in reversed(list(enumerate(cells))) if name}
    others = [name.removeprefix(UNNAMED) if name not in wanted else name for name in cells]
    nameless = iter([position for position, name in enumerate(others) if not name or name != cells[position]])
    missing = []
    positions = []
    for name in wanted:
        position = found.get(name)
        if position is None and name.startswith(UNNAMED):
            position = next(nameless, None)
        if position is None:
            missing.append(name)
        else:
            positions.append(position)
    if not missing and len(cells) > len(wanted):
        twice = next((name for name in wanted if name and cells.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"The rows have the column '{twice}' more than once.")
    return positions, missing


def header_order(
    cells: Sequence[object], names: Sequence[str], content_type: str | None, rows: int = 2
) -> list[int] | None:
    """Where the model's columns are, if a row of CSV is a header.

    :param cells: the first row.
    :param names: the model's columns.
    :param content_type: with ``header=present`` the row is a header, and with ``header=absent`` it is none.
    :param rows: how many rows there are.
    :return: the position of each of the model's columns; ``None`` if the row is no header.
    :raises ValueError: the row is a header that lacks columns, or has one twice.
    """
    said = (content_type or "").replace(" ", "").lower()
    if "header=absent" in said:
        return None
    order, missing = locate(cells, names)
    # The only text of a request may be the name of its column.
    lone = len(names) == 1 == rows
    if not missing and not (lone and "header=present" not in said):
        return order
    if "header=present" in said or len(order) > max(1, len(names) // 2):
        given = names_of(cells)
        raise ValueError(f"The header lacks {listing(missing)}; it has {listing(given, 30)}.{separator_hint(given)}")
    return None


def same_columns(names: Sequence[str], header: Sequence[str], uri: str, expected_from: str) -> None:
    """Refuse a file whose columns differ from those of another; their order may (R13).

    :raises JobFailure: they do.
    """
    if sorted(names) == sorted(header):
        return
    missing = [name for name in header if name not in names]
    extra = [name for name in names if name not in header]
    parts = []
    if missing:
        parts.append(f"it lacks {listing(missing, 5)}")
    if extra:
        parts.append(f"it also has {listing(extra, 5)}")
    raise JobFailure(f"The header of {uri} differs from that of {expected_from}: {' and '.join(parts)}.")


def separator_hint(names: Sequence[str]) -> str:
    """What to say if the columns seem to be separated by something else than commas."""
    joined = ",".join(names)
    for mark, shown in ((";", "';'"), ("\t", "a tab"), ("|", "'|'")):
        if joined.count(mark) > joined.count(","):
            return (
                f" The columns seem to be separated by {shown}; CSV needs commas. Numbers need a decimal point, not a "
                "decimal comma."
            )
    return ""
