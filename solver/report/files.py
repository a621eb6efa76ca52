"""Text into a file, whole or not at all."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from solver.errors import InputFileError


def require_writable(path: str) -> None:
    """Raise InputFileError where a file could not be written, before anything expensive is done.

    Raises:
        InputFileError: the folder is missing, the path is a folder, or there is no permission.
    """
    target = _target(path)
    if not path or target.is_dir():
        raise InputFileError("output", path, "is a folder; name a file in it" if path else "name a file")
    if not target.parent.is_dir():
        raise InputFileError("output", path, f"there is no folder {str(target.parent)!r}; make it first")
    touched = [target.parent] if _is_replaced(target) else []
    touched += [target] if target.exists() else []
    if not all(os.access(place, os.W_OK) for place in touched):
        raise InputFileError("output", path, "there is no permission to write here; choose another place")


def write_whole(path: str, text: str | bytes) -> None:
    """Write `text` to a file that is either as it was or complete: it is written beside it and then put in its place.

    What is not a regular file (a pipe, /dev/stdout) is written to directly; a symbolic link is followed.

    Raises:
        InputFileError: it cannot be written; nothing of it remains.
    """
    with whole_file(path) as file:
        file.write(text.encode() if isinstance(text, str) else text)


@contextlib.contextmanager
def whole_file(path: str) -> Iterator[BinaryIO]:
    """A file to write to piece by piece, with the promise of `write_whole`. Raises InputFileError likewise."""
    require_writable(path)
    target = _target(path)
    try:
        if _is_replaced(target):
            with _put_in_place(target) as beside, beside.open("wb") as file:
                yield file
        else:
            with target.open("wb") as file:
                yield file
    except OSError as error:
        raise InputFileError("output", path, f"cannot be written: {_reason(error)}") from None


def append_line(path: str, line: str) -> None:
    """Add one line to a file, which is made if it is not there; on disk before this returns.

    Raises:
        InputFileError: it cannot be written.
    """
    try:
        with open(_target(path), "a", encoding="utf-8") as file:
            file.write(line + "\n")  # one write of one line: a reader, or a second writer, never sees half of it
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputFileError("record", path, f"cannot be written: {reason}") from None


def _target(path: str) -> Path:
    """Where a path leads; InputFileError where it cannot even be looked at."""
    try:
        target = Path(os.path.realpath(path))
        target.is_dir()
    except OSError as error:  # a name that is too long, a folder that may not be entered
        raise InputFileError("output", path, f"cannot be written: {_reason(error)}") from None
    except ValueError:  # a null byte
        raise InputFileError("output", path, "is not a path; name a file") from None
    return target


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _is_replaced(target: Path) -> bool:
    return target.is_file() or not target.exists()


@contextlib.contextmanager
def _put_in_place(target: Path) -> Iterator[Path]:
    """A path beside `target` to write to; what is there at the end of the block is put in the target's place.

    Where the block raises, the target is as it was, and nothing is left beside it.
    """
    beside = target.with_name(f".{target.name[:100]}.{os.urandom(4).hex()}.part")
    try:
        beside.touch()  # for the mode that a new file has; some writers make theirs for the owner alone
        mode = (target if target.exists() else beside).stat().st_mode
        yield beside
        beside.chmod(stat.S_IMODE(mode))
        beside.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise


def write_folder(
    folder: str, files: Mapping[str, str | Callable[[str], None]], *, overwrite: bool = False
) -> dict[str, int]:
    """Write files into a folder, which is made if it is not there: path -> bytes, in their order.

    Each is written whole or not at all, and none where one of them would overwrite something else.

    Args:
        files: name -> text, or a function that writes to the path that it is given.

    Raises:
        InputFileError: the folder or a file cannot be written, or would overwrite what is there.
    """
    made = _made_folder(folder)
    if not overwrite:
        for name, content in files.items():
            require_not_lost(str(made / name), content if isinstance(content, str) else None)
    for name, content in files.items():
        path = str(made / name)
        if isinstance(content, str):
            write_whole(path, content)
            continue
        require_writable(path)
        try:
            with _put_in_place(_target(path)) as beside:
                content(str(beside))
        except OSError as error:
            raise InputFileError("out", path, f"cannot be written: {_reason(error)}") from None
    return {str(made / name): (made / name).stat().st_size for name in files}


def require_not_lost(path: str, text: str | None) -> None:
    """Raise InputFileError where a file holds anything but `text`; with None, where it is there at all."""
    if not os.path.exists(path):
        return
    with contextlib.suppress(OSError):  # what cannot be read is not known to be the same
        if text is not None and Path(path).read_bytes() == text.encode():
            return
    raise InputFileError("out", path, "is there already, and would be overwritten; --force does that")


def _made_folder(folder: str) -> Path:
    if not folder:
        raise InputFileError("out", folder, "name a folder")
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise InputFileError("out", folder, "is a file; name a folder") from None
    except OSError as error:
        raise InputFileError("out", folder, f"cannot be made: {_reason(error)}") from None
    except ValueError:  # a null byte
        raise InputFileError("out", folder, "is not a path; name a folder") from None
    return Path(folder)
