"""What the command lines of all programs share: a parser, and types that state each option's range once."""

from __future__ import annotations

import argparse
import os
import re
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar

from . import __version__
from .errors import DataError, EdgeClassifyError, UsageError, explain_os_error
from .images.crop import Crop, make_crop
from .system.nearest import nearest
from .system.standard_streams import drop_output, prepare

Number = TypeVar("Number", int, float)
_Parse = TypeVar("_Parse", bound=Callable[[str], Any])

# How variables that set options begin.
VARIABLES = "EDGE_CLASSIFY_"

# For each of these, COMPLETIONS has a file of each command.
SHELLS = ("bash", "zsh")
COMPLETIONS = Path(__file__).parent / "system" / "completions"

# Cameras that shells complete.
CAMERAS = ("0", "csi:0", "demo")

# Columns of the text after the options.
_WIDTH = 76


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, as all of ours are.

    details: options, and arguments by their `dest`, that are only in --help-all (see also `only_in_help_all`).
    examples: command lines with what they do, shown at the end of --help.
    errors: the kinds of error that this command can end with; --help lists their exit codes.
    usage: the first line of --help, if the generated one would be long.
    stopped: what exit code 130 means.
    meant: options that people guess, and those that there are in their place.

    given: the words behind each option of the last command line, by its `dest`; one list each time it was given.
    """

    given: dict[str, list[list[str]]]

    def __init__(
        self,
        prog: str,
        description: str,
        *,
        examples: Sequence[tuple[str, str]] = (),
        errors: Sequence[type[EdgeClassifyError]] = (),
        usage: str | None = None,
        details: Sequence[str] = (),
        stopped: str = "stopped by Ctrl-C",
        meant: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(
            prog=prog,
            usage=usage,
            description=description,
            formatter_class=_Formatter,
            allow_abbrev=False,
            add_help=False,
        )
        self.given = {}
        self._details = details
        self.examples = examples
        self._errors = errors
        self._stopped = stopped
        self._often_meant = meant or {}

    def check_belonging(self, options: argparse.Namespace) -> None:
        """Raise UsageError for an option such as --web-address without the one that its name begins with, --web.

        That is one which is off unless it is given. options: of this parser, whatever set them.
        """
        actions = [action for action in self._actions if action.option_strings]
        switches = {action.dest: action for action in actions if action.default is None or action.default is False}
        for action in actions:
            words = action.dest.split("_")
            mains = (switches.get("_".join(words[:count])) for count in range(1, len(words)))
            main = next((main for main in mains if main is not None), None)
            if main is None or getattr(options, main.dest) not in (None, False):
                continue
            if action.dest in self.given or getattr(options, action.dest) != action.default:
                name = f"{main.option_strings[-1]} {main.metavar or ''}".strip()
                raise UsageError(f"{action.option_strings[-1]} is for {name}: give that too")

    def _print_message(self, message: str, file: Any = None) -> None:
        try:
            print(message, end="", file=file or sys.stderr, flush=True)
        except BrokenPipeError:  # `--help | head`
            drop_output()
        except OSError as error:
            drop_output()
            error.filename = "standard output"
            self.exit(DataError.exit_code, f"error: {explain_os_error(error)}\n")

    def add_common_options(self, group: argparse._ArgumentGroup | None = None) -> None:
        """--traceback, --version, --help and their like, last in --help; in this group, or one of their own."""
        group = group or self.add_argument_group("about this program")
        traceback = group.add_argument(
            "--traceback", action="store_true", help="print a Python traceback on errors, to report a bug"
        )
        version = group.add_argument(
            "--version", action="version", version=f"%(prog)s {__version__}", help="print the version and exit"
        )
        completion = group.add_argument(
            "--print-completion",
            action=_PrintCompletion,
            choices=SHELLS,
            default=argparse.SUPPRESS,
            help="print what completes this command in that shell, and exit",
        )
        for option in (traceback, version, completion):
            only_in_help_all(option)
        group.add_argument("-h", "--help", action="help", help="print this and exit")
        group.add_argument(
            "--help-all", action=_HelpAll, nargs=0, default=argparse.SUPPRESS, help="print all options and exit"
        )

    def format_help(self) -> str:
        """The text of --help."""
        details = [
            action
            for action in self._actions
            if getattr(action, "only_in_help_all", False) or set(self._details) & {*action.option_strings, action.dest}
        ]
        texts = [action.help for action in details]
        try:
            for action in details:
                action.help = argparse.SUPPRESS
            return self.format_all()
        finally:
            for action, text in zip(details, texts, strict=True):
                action.help = text

    def format_all(self) -> str:
        """The text of --help-all."""
        return super().format_help() + "\n" + self.format_end()

    def format_end(self) -> str:
        """What stands below the options: examples and exit codes."""
        lines = ["examples:"] if self.examples else []
        for command, what in self.examples:
            lines += [f"  {command}", f"      {what}"]
        codes = "; ".join(f"{code} {meaning}" for code, meaning in self.exit_codes())
        lines += [*[""] * bool(lines), "exit codes:", *(f"  {line}" for line in textwrap.wrap(codes, _WIDTH))]
        return "\n".join(lines) + "\n"

    def exit_codes(self) -> list[tuple[int, str]]:
        """(code, meaning) of every way that this command can end."""
        return exit_codes(self._errors, self._stopped)

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        """As argparse's, which takes the value -1..1 for an option; behind a space it does not."""
        prepare()  # before the first word is printed, by --help or about a wrong option
        self.given = {}
        words = sys.argv[1:] if args is None else args
        return super().parse_known_args([re.sub(r"^-(?=\d+\.\.)", " -", word) for word in words], namespace)

    def _get_values(self, action, arg_strings):  # type: ignore[no-untyped-def]
        """As argparse's, which forgets which options were given, and how."""
        value = super()._get_values(action, arg_strings)
        self.given.setdefault(action.dest, []).append([word.strip() for word in arg_strings])
        return value

    def error(self, message: str) -> NoReturn:
        message += self._meant(message)
        self.exit(UsageError.exit_code, f"error: {message.removeprefix('argument ')} (see {self.prog} --help)\n")

    def _meant(self, message: str) -> str:
        """The option that an unknown one looks like."""
        unknown = re.match(r"unrecognized arguments: .*?(--[^\s=]+)", message)
        shown = (name for name, action in self._option_string_actions.items() if action.help != argparse.SUPPRESS)
        found = (self._often_meant.get(unknown[1]) or nearest(unknown[1], shown)) if unknown else None
        return f": did you mean {found}?" if found else ""


class _HelpAll(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        assert isinstance(parser, Parser)
        parser._print_message(parser.format_all(), sys.stdout)
        parser.exit()


class _PrintCompletion(argparse.Action):
    """Prints a file that docs/make_commands.py has written: nothing is computed, nor needed, on the device."""

    def __call__(self, parser: argparse.ArgumentParser, _: object, shell: Any, *__: object) -> NoReturn:
        assert isinstance(parser, Parser)
        parser._print_message((COMPLETIONS / f"{parser.prog.split()[0]}.{shell}").read_text("utf-8"), sys.stdout)
        parser.exit()


def path_behind_equals(text: str) -> Path:
    """The path in NAME=PATH, where not every shell puts the home folder in place of ~/."""
    return Path(text).expanduser() if text.startswith("~/") else Path(text)


def only_in_help_all(option: argparse.Action) -> None:
    """Leave an option out of --help, which shows what most people need: `only_in_help_all(group.add_argument(...))`."""
    option.only_in_help_all = True  # type: ignore[attr-defined]


def only_on_command_line(option: argparse.Action) -> None:
    """Keep an option that does something else and exits out of configuration files and the environment."""
    option.only_on_command_line = True  # type: ignore[attr-defined]


def writes_file(option: argparse.Action) -> None:
    """Say that the file an option names is written, so that the service must be allowed to."""
    option.writes_file = True  # type: ignore[attr-defined]


def suggest(option: argparse.Action, *words: object) -> None:
    """Have shells complete these words, besides files if it takes any."""
    option.suggested = tuple(map(str, words))  # type: ignore[attr-defined]


def as_json(*types: str, **bounds: Any) -> Callable[[_Parse], _Parse]:
    """Say which JSON types a configuration file may give to what is parsed by this function; else it is a string.

    bounds: further keywords of JSON Schema, such as minimum.
    """

    def mark(parse: _Parse) -> _Parse:
        parse.json_schema = {"type": types[0] if len(types) == 1 else list(types), **bounds}  # type: ignore[attr-defined]
        return parse

    return mark


class _Formatter(argparse.HelpFormatter):
    """Appends each option's default if there is one worth showing."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help
        if text and "%(default)" not in text and "default:" not in text and _has_default(action):
            text += " (default: %(default)s)"
        return text


def _has_default(action: argparse.Action) -> bool:
    return action.option_strings != [] and action.default not in (None, False, "", [], argparse.SUPPRESS)


def exit_codes(errors: Sequence[type[EdgeClassifyError]], stopped: str) -> list[tuple[int, str]]:
    """(code, meaning) for a command that can end with these kinds of error. Success and Ctrl-C are included.

    stopped: the meaning of 130.

    If two kinds share a code, the last is the command's own word for it.
    """
    kinds: list[type[EdgeClassifyError]] = [EdgeClassifyError, UsageError, *errors]
    meanings = {kind.exit_code: kind.meaning for kind in kinds}
    return [(0, "success"), *sorted(meanings.items()), (130, stopped)]


def add_picture_options(group: argparse._ActionsContainer) -> None:
    """--size, --fps, --rotate and --flip: how a camera gives its pictures."""
    group.add_argument("--size", type=_picture_size, metavar="WxH", help="picture size to request (default: 640x480)")
    group.add_argument("--fps", type=number(above=0), metavar="N", help="frames per second to request (default: 30)")
    group.add_argument(
        "--rotate",
        type=int,
        choices=(0, 90, 180, 270),
        default=0,
        metavar="DEGREES",
        help="rotate clockwise by 90, 180 or 270",
    )
    group.add_argument("--flip", choices=("h", "v"), help="mirror left to right (h) or top to bottom (v)")


def _picture_size(text: str) -> tuple[int, int]:
    """(width, height)."""
    width, height = numbers("x", "640x480")(text)
    return int(width), int(height)


def add_third_party_options(group: argparse._ActionsContainer) -> None:
    """--labels, --input-range and --input-size: what a model file of others may not say itself."""
    group.add_argument(
        "--labels",
        metavar="FILE",
        help="names of the classes: one per line, CSV, JSON or pbtxt",
    )
    group.add_argument(
        "--input-range",
        type=_input_range,
        metavar="RANGE",
        help="third-party input: -1..1, 0..1, 0..255 or imagenet",
    )
    group.add_argument(
        "--input-size", type=_input_size, metavar="WxH", help="third-party model of any input size (default: 224x224)"
    )


def _input_size(text: str) -> tuple[int, int]:
    """(height, width), from WxH or one number for both."""
    found = re.fullmatch(r"([1-9]\d{0,3})(?:x([1-9]\d{0,3}))?", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"expected a size in pixels such as 224x224, found {text!r}")
    return int(found[2] or found[1]), int(found[1])


def _input_range(text: str) -> str:
    ranges = ("-1..1", "0..1", "0..255", "imagenet")
    if text.strip() not in ranges:
        raise argparse.ArgumentTypeError(f"expected {', '.join(ranges[:-1])} or {ranges[-1]}, found {text.strip()!r}")
    return text.strip()


def integer(minimum: int, maximum: int | None = None) -> Callable[[str], int]:
    """For `type=`: a whole number in this range."""
    bounds = {"minimum": minimum} if maximum is None else {"minimum": minimum, "maximum": maximum}

    @as_json("integer", **bounds)
    def parse(text: str) -> int:
        return _number(text, int, "a whole number", _range(minimum=minimum, maximum=maximum))

    return parse


@as_json("integer", "string")
def threads(text: str) -> int | Literal["auto"]:
    """For `type=`: a number of threads, or auto."""
    if text == "auto":
        return "auto"
    try:
        return integer(1)(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"expected auto, or a whole number, 1 or more, found {text!r}") from None


def number(
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> Callable[[str], float]:
    """For `type=`: a number in this range."""
    bounds = {"minimum": minimum, "maximum": maximum, "exclusiveMinimum": above, "exclusiveMaximum": below}

    @as_json("number", **{name: bound for name, bound in bounds.items() if bound is not None})
    def parse(text: str) -> float:
        return _number(text, float, "a number", _range(minimum=minimum, maximum=maximum, above=above, below=below))

    return parse


def duration(text: str) -> float:
    """For `type=`: a time in seconds, from 30s, 10m or 2h."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    if not found or not float(found[1]):
        raise argparse.ArgumentTypeError(f"expected a time such as 30s, 10m or 2h, found {text!r}")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]]


def numbers(separator: str, example: str) -> Callable[[str], tuple[float, ...]]:
    """For `type=`: as many finite numbers as the example has, such as "640x480" with the separator "x"."""
    count = example.count(separator) + 1

    def parse(text: str) -> tuple[float, ...]:
        try:
            found = tuple(float(word) for word in text.split(separator))
        except ValueError:
            found = ()
        if len(found) != count or not all(map(isfinite, found)):
            raise argparse.ArgumentTypeError(f"expected {count} numbers such as {example}, found {text!r}")
        return found

    return parse


def crop(text: str) -> Crop:
    """For `type=`: a part of the picture, X,Y,W,H in fractions."""
    if text == "auto":
        raise argparse.ArgumentTypeError(
            "auto is for edge-train only, whose model files name the part that it found: leave --crop out"
        )
    try:
        return make_crop(numbers(",", "0.25,0,0.5,1")(text))
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def is_folder(path: Path) -> bool:
    """As Path.is_dir, which raises an error for a folder that one may not look into."""
    return os.path.isdir(path)  # noqa: PTH112


def output_file(text: str) -> Path:
    """For `type=`: a file to write at the end; what would prevent that is said before the work."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"expected a file name, but {text} is a folder")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {path.parent} to write {path.name} into")
    if not os.access(path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"cannot write into the folder {path.parent}: give another")
    return path


_Check = tuple[str, Callable[[float], bool]]


def _range(
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> list[_Check]:
    """Bounds in words, each with its test. NaN meets no bound."""
    checks: list[_Check] = []
    if minimum is not None:
        checks.append((f"{minimum:g} or more", lambda value: value >= minimum))
    if above is not None:
        checks.append((f"more than {above:g}", lambda value: value > above))
    if maximum is not None:
        checks.append((f"at most {maximum:g}", lambda value: value <= maximum))
    if below is not None:
        checks.append((f"less than {below:g}", lambda value: value < below))
    return checks


def _number(text: str, kind: Callable[[str], Number], what: str, checks: Sequence[_Check]) -> Number:
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not all(holds(value) for _, holds in checks):
        bounds = " and ".join(words for words, _ in checks)
        raise argparse.ArgumentTypeError(f"expected {what}{', ' * bool(bounds)}{bounds}, found {text!r}")
    return value
