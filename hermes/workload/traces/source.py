"""A trace file as lines of text that know where they stand."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import BinaryIO, Self, cast

from hermes.errors import InputError

__all__ = ["TraceOptions", "TraceSource"]

_GZIP_MAGIC = b"\x1f\x8b"
_LONGEST_LINE = 1 << 20
_HEAD = 256


@dataclass(frozen=True, slots=True)
class TraceOptions:
    """What some layouts leave to the scenario; None: what the layout says by itself.

    Attributes:
        block_tokens: Tokens in one block of a prompt.
        chars_per_token: Characters in one token, for layouts that count characters.
    """

    block_tokens: int | None = None
    chars_per_token: float | None = None

    def given(self) -> tuple[str, ...]:
        """Return the names of the options that are not None."""
        named = (("block_tokens", self.block_tokens), ("chars_per_token", self.chars_per_token))
        return tuple(name for name, value in named if value is not None)


class TraceSource:
    """The lines of a trace file, gzipped or not (told by its content, not its name).

    Attributes:
        file: Path of the file, for messages.
        line: 1-based number of the line read last; 0 before the first.
        options: What the scenario says about the layout.
        path: The file.
    """

    def __init__(self, path: Path, options: TraceOptions | None = None) -> None:
        self.path = path
        self.file = str(path)
        self.line = 0
        self.options = options or TraceOptions()
        self._notes: Counter[str] = Counter()
        self._raw = _open(path)
        zipped = self._raw.peek(2)[:2] == _GZIP_MAGIC
        self._data = gzip.GzipFile(fileobj=self._raw) if zipped else self._raw
        # utf-8-sig: spreadsheets put a byte order mark first.
        self._stream = io.TextIOWrapper(
            cast("BinaryIO", self._data), encoding="utf-8-sig", newline=""
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        self._raw.close()  # a GzipFile leaves the file it was given open

    def lines(self, longest: int = _LONGEST_LINE) -> Iterator[str]:
        """Yield the lines with their ends.

        Args:
            longest: Most characters in a line.

        Raises:
            InputError: where the file is damaged, is no UTF-8 text or has an endless line.
        """
        try:
            while line := self._stream.readline(longest):
                self.line += 1
                if len(line) == longest:
                    raise self.wrong(f"the line is longer than {longest:,} characters")
                yield line
        except UnicodeDecodeError as error:
            raise self._damaged(f"is not UTF-8 text: {error.reason}") from None
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            reason = str(error).rstrip(".")
            raise self._damaged(f"the gzip data is damaged or cut short: {reason}") from None
        except OSError as error:
            raise self._damaged(f"cannot be read: {error.strerror or error}") from None

    def begins_with(self, character: str) -> bool:
        """Tell, before any line is read, whether the text begins with an ASCII character."""
        with suppress(EOFError, zlib.error, OSError):  # reading the lines says what is wrong
            head = self._data.peek(_HEAD)[:_HEAD]
            return head.removeprefix(codecs.BOM_UTF8).lstrip().startswith(character.encode())
        return False

    def note(self, what: str) -> None:
        """Count a row that was left out, or taken otherwise than written."""
        self._notes[what] += 1

    def notes(self) -> list[str]:
        """Return what was noted, for people, with how often."""
        return [f"{what}: {count:,}" for what, count in sorted(self._notes.items())]

    def wrong(self, message: str, column: str = "") -> InputError:
        """Return the error for something wrong in the line read last."""
        return InputError(message, column, self.file, self.line)

    def _damaged(self, message: str) -> InputError:
        self.line += 1  # the line that could not be read
        return self.wrong(message)


def _open(path: Path) -> io.BufferedReader:
    field = "workload.requests.path"
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise InputError(f"there is no file {str(path)!r}{_near(path)}", field) from None
    except IsADirectoryError:
        raise InputError(f"{str(path)!r} is a folder, not a trace file", field) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot open {str(path)!r}: {reason}", field) from None


def _near(path: Path) -> str:
    """Return a hint to the nearest file name beside a missing file, if there is one."""
    try:
        names = sorted(entry.name for entry in path.parent.iterdir())
    except OSError:
        return f"; its folder {str(path.parent)!r} does not exist either"
    near = get_close_matches(path.name, names, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""
