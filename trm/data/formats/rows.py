"""Rows of a file or of a folder of shards, one at a time: JSON lines, a JSON list, Parquet, Arrow, SQLite; gzipped or not.

What a file is is read from its first bytes, never from its name. Memory holds one row of at most LARGEST characters (Parquet: a
few rows of one row group). A row that is broken comes as `Damaged` in its place; where nothing after it can be read either, as
in a gzip file that is cut, it is the file's last.
"""

from __future__ import annotations

import codecs
import gzip
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from trm.data.formats.fields import LARGEST, Damaged, FormatError
from trm.data.formats.runbugrun import rows_of_database

Item = tuple[str, "dict[str, Any] | Damaged"]
_CHUNK = 1 << 20
_AT_ONCE = 16  # rows of a table that are Python objects at the same time
_HEADS = (
    (b"\x1f\x8b", "gzip"), (b"PAR1", "parquet"), (b"ARROW1", "arrow"), (b"\xff\xff\xff\xff", "arrow"),
    (b"SQLite format 3\x00", "sqlite"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"LRZI", "lrzip"), (b"PK\x03\x04", "zip"),
    (b"BZh", "bzip2"), (b"\xfd7zXZ\x00", "xz"), (b"version https://git-lfs", "git-lfs"),
)  # fmt: skip
_UNPACK = {
    "zstd": "unpack it first: unzstd", "lrzip": "unpack it first: lrunzip", "zip": "unpack it first: unzip",
    "bzip2": "unpack it first: bunzip2", "xz": "unpack it first: unxz",
    "git-lfs": "this is a pointer, not the file: git lfs pull brings it",
}  # fmt: skip
_BLANK = re.compile(r"[\s,]*")


def container(path: Path) -> str:
    """What a file is: "lines", "list", "parquet", "arrow", "sqlite", or "" for none. Raises FormatError with what to do."""
    try:
        with path.open("rb") as stream:
            head = stream.read(64)
        for magic, kind in _HEADS:
            if head.startswith(magic):
                if kind in _UNPACK:
                    raise FormatError(f"{path}: {_UNPACK[kind]}")
                if kind != "gzip":
                    return kind
        with _opened(path) as stream:
            return _json_kind(stream)
    except (OSError, EOFError, zlib.error) as error:
        raise FormatError(f"{path}: {_said(error)}") from None


def _json_kind(stream: BinaryIO) -> str:
    """A list, objects one a line, or an object over many lines, which is read as a list is."""
    head = b""
    while not head and (part := stream.read(4096)):
        head = part.lstrip(codecs.BOM_UTF8 + b" \t\r\n")
    if head[:1] == b"[":
        return "list"
    if head[:1] != b"{":
        return ""
    first, _, second = head.partition(b"\n")
    return "list" if first.strip() == b"{" and second.lstrip()[:1] == b'"' else "lines"


def _opened(path: Path) -> BinaryIO:
    with path.open("rb") as stream:
        zipped = stream.read(2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(path)) if zipped else path.open("rb")


def _said(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def files_of(path: Path) -> list[Path]:
    """The file itself, or the files with rows below a folder, sorted. Raises FormatError if there is none."""
    if path.is_file():
        if not container(path):
            raise FormatError(f"{path}: neither JSON, Parquet, Arrow nor SQLite")
        return [path]
    if not path.is_dir():
        raise FormatError(f"{path}: no such file or folder")
    hidden = (
        p
        for p in sorted(path.rglob("*"))
        if not any(q.startswith(".") for q in p.relative_to(path).parts)
    )
    found = [each for each in hidden if each.is_file() and each.stat().st_size and container(each)]
    if not found:
        raise FormatError(f"{path}: no file with rows in it")
    return found


def rows(path: Path, shard: tuple[int, int] = (0, 1)) -> Iterator[Item]:
    """(place, row) of every row. place: FILE:NUMBER, counted from 1.

    shard: (index, count) for the process `index` of `count`: whole files where there are enough of them, else every count-th row.
    Raises FormatError where nothing can be read at all.
    """
    index, count = shard
    files = files_of(path)
    whole = len(files) >= count
    for file in files[index::count] if whole else files:
        number = 0
        for number, row in enumerate(_rows_of(file), 1):
            if whole or (number - 1) % count == index:
                yield f"{file}:{number}", row


def _rows_of(file: Path) -> Iterator[dict[str, Any] | Damaged]:
    kind = container(file)
    try:
        if kind == "parquet":
            yield from _parquet(file)
        elif kind == "arrow":
            yield from _arrow(file)
        elif kind == "sqlite":
            yield from rows_of_database(file)
        else:
            with _opened(file) as stream:
                yield from (_elements if kind == "list" else _lines)(stream)
    except EOFError:
        yield Damaged("the file is cut here")
    except (OSError, zlib.error) as error:
        yield Damaged(f"the file is broken here: {_said(error)}")


def _lines(stream: BinaryIO) -> Iterator[dict[str, Any] | Damaged]:
    while line := stream.readline(LARGEST + 1):
        if len(line) > LARGEST:
            yield Damaged(f"a line of more than {LARGEST >> 20} MiB")
            while line and not line.endswith(b"\n"):
                line = stream.readline(_CHUNK)
        elif stripped := line.strip():
            try:
                yield _object(json.loads(stripped.removeprefix(codecs.BOM_UTF8)))
            except (ValueError, RecursionError) as error:
                yield Damaged(_json_error(error))


def _object(value: Any) -> dict[str, Any] | Damaged:
    return value if isinstance(value, dict) else Damaged("not a JSON object")


def _json_error(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "JSON nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    return f"not JSON: {getattr(error, 'msg', error)}"


def _elements(stream: BinaryIO) -> Iterator[dict[str, Any] | Damaged]:
    """Elements of one list, or objects that stand one after another, without holding more than the one at hand."""
    decode, parse = codecs.getincrementaldecoder("utf-8-sig")(), json.JSONDecoder().raw_decode
    buffer, at, ended = "", 0, False
    in_list: bool | None = None

    def more() -> None:
        nonlocal buffer, at, ended
        # as much again as is there: an element of any length is parsed a few times only
        part = stream.read(max(_CHUNK, len(buffer) - at))
        ended = not part
        buffer, at = buffer[at:] + decode.decode(part, ended), 0

    while True:
        try:
            at = cast("re.Match[str]", _BLANK.match(buffer, at)).end()
            if at == len(buffer):
                if ended:
                    if in_list:
                        yield Damaged("the list is cut here")
                    return
                more()
                continue
            if in_list is None:
                in_list = buffer[at] == "["
                at += in_list
                continue
            if in_list and buffer[at] == "]":
                return
            value, end = parse(buffer, at)
        except UnicodeDecodeError:
            yield Damaged("not UTF-8; nothing after it is read")
            return
        except RecursionError:
            yield Damaged("JSON nested too deeply; nothing after it is read")
            return
        except ValueError as error:
            known = isinstance(error, json.JSONDecodeError)
            # what goes wrong at the very end may only be incomplete
            cut = known and (error.msg.startswith("Unterminated") or error.pos >= len(buffer) - 8)
            if not cut or ended or len(buffer) - at > LARGEST:
                said = "cut here" if cut else _json_error(error)
                yield Damaged(f"{said}; nothing after it is read")
                return
            try:
                more()
            except UnicodeDecodeError:
                yield Damaged("not UTF-8; nothing after it is read")
                return
            continue
        yield _object(value)
        at = end


def _parquet(file: Path) -> Iterator[dict[str, Any] | Damaged]:
    from_arrow = _pyarrow(file)
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(file, pre_buffer=False, buffer_size=_CHUNK) as table:
            for batch in table.iter_batches(batch_size=_AT_ONCE):
                yield from from_arrow(batch)
    except _arrow_errors() as error:
        yield Damaged(f"the file is broken here: {_first_line(error)}")


def _arrow(file: Path) -> Iterator[dict[str, Any] | Damaged]:
    from_arrow = _pyarrow(file)
    import pyarrow as pa

    try:
        with pa.OSFile(str(file)) as source:
            if source.read(6) == b"ARROW1":
                reader = pa.ipc.open_file(source)
                batches = (reader.get_batch(i) for i in range(reader.num_record_batches))
            else:
                source.seek(0)
                batches = iter(pa.ipc.open_stream(source))
            for batch in batches:
                for start in range(0, batch.num_rows, _AT_ONCE):
                    yield from from_arrow(batch.slice(start, _AT_ONCE))
    except _arrow_errors() as error:
        yield Damaged(f"the file is broken here: {_first_line(error)}")


def _pyarrow(file: Path) -> Any:
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise FormatError(
            f"{file}: Parquet and Arrow need pyarrow: install trm-agent[data]"
        ) from None
    return _objects


def _objects(batch: Any) -> Iterator[dict[str, Any] | Damaged]:
    try:
        yield from batch.to_pylist()
    except ValueError as error:  # text that is not UTF-8, a date out of range
        for number in range(batch.num_rows):
            try:
                yield from batch.slice(number, 1).to_pylist()
            except ValueError:
                yield Damaged(f"cannot be read: {_first_line(error)}")


def _arrow_errors() -> tuple[type[Exception], ...]:
    import pyarrow as pa

    return pa.ArrowException, OSError


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
