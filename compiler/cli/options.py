"""Options that several subcommands share, each group as one decorator."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import click

from snnc.cli.choice import Choice
from snnc.ir.errors import ArchiveError, OptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from snnc.backends.nir.timing import Integration, Timing
    from snnc.cli.show import Notes
    from snnc.data import Dataset, Normalise
    from snnc.ir.graph import Graph
    from snnc.passes.registry import Registry

    Command: TypeAlias = Callable[..., None]

FILE = click.Path(path_type=Path)
STEPS_IF_UNRECORDED = 4
MAX_DIGITS = 15  # of a dimension
MOST_STEPS = 2**20  # that a command line may ask for: beyond it is a slip of the finger
MAX_RECORDED_STEPS = 2**16  # far above any network: more are for the user to ask for, not for a file


def example(*lines: str) -> str:
    """Return the end of a help page: commands to copy."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


network_argument = click.argument("network", type=FILE, metavar="NET.sir")
quiet_option = click.option("-q", "--quiet", is_flag=True, help="No notes, warnings or progress bars.")
verbose_option = click.option(
    "-v", "--verbose", is_flag=True, help="Show what every pass did and how long it took."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
steps_option = click.option(
    "-T",
    "--steps",
    type=click.IntRange(min=1, max=MOST_STEPS),
    metavar="T",
    help="Time steps to run.  [default: as many as data with a time axis have, as recorded in NET, else 4]",
)
model_option = click.option(
    "--model", required=True, type=FILE, metavar="MODEL", help="The ONNX model NET was compiled from."
)
test_data_option = click.option(
    "--data",
    "data_file",
    required=True,
    type=FILE,
    metavar="DATA",
    help="Samples: .npz (x and, for accuracy, labels y; or one array per input) or .npy.",
)


metric_option = click.option(
    "--metric",
    type=Choice(["accuracy", "relative_error", "cosine"]),
    help="What to compare.  [default: accuracy if there are labels, else relative_error]",
)


decode_option = click.option(
    "--decode",
    type=Choice(["mean", "sum", "last"]),
    help="The answer after t steps: the outputs' mean or sum until then, or step t alone.  "
    "[default: as recorded in NET]",
)


# Continuous time.


def timing_options(where: str) -> Callable[[Command], Command]:
    """Add --dt and --integration; the command receives both, None where not given."""

    def add(command: Command) -> Command:
        from snnc.backends.nir.timing import DEFAULT_DT, INTEGRATIONS

        dt = click.option(
            "--dt",
            type=click.FloatRange(min=0, min_open=True),
            metavar="SECONDS",
            help=f"Length of a time step.  [default: as the file says, else {DEFAULT_DT:g}] ({where})",
        )
        integration = click.option(
            "--integration",
            type=Choice(INTEGRATIONS),
            help=f"How a step stands for NIR's differential equations.  [default: euler] ({where})",
        )
        return dt(integration(command))

    return add


def timing_of(dt: float | None, integration: str | None) -> Timing:
    """Return the timing that the options ask for, with defaults filled in."""
    from snnc.backends.nir.timing import DEFAULT_DT, Timing

    return Timing(DEFAULT_DT if dt is None else dt, cast("Integration", integration or "euler"))


# The shape of inputs.


def shape_option(command: Command) -> Command:
    """Add `--shape NAME=N,128`; the command receives `shapes`, a dictionary or None."""
    return click.option(
        "--shape",
        "shapes",
        multiple=True,
        metavar="NAME=DIMS",
        callback=parse_shapes,
        help="Pin the dimensions of an input, N for the batch: tokens=N,128. Repeat for more inputs.",
    )(command)


def parse_shapes(
    ctx: click.Context, parameter: click.Parameter, given: Sequence[str]
) -> dict[str, tuple[int | str, ...]] | None:
    shapes = {}
    for text in given:
        name, equals, dims = text.rpartition("=")
        if not equals or not name:
            raise click.BadParameter(f"{text!r} is not NAME=DIMS, for example tokens=N,128")
        if name in shapes:
            raise click.BadParameter(f"the shape of {name!r} is given twice")
        shapes[name] = tuple(parse_dim(dim.strip(), text) for dim in dims.split(","))
    return shapes or None


def parse_dim(dim: str, text: str) -> int | str:
    if dim == "N":
        return dim
    if not (dim.isascii() and dim.isdigit() and len(dim) <= MAX_DIGITS and int(dim) > 0):
        raise click.BadParameter(f"{dim[:40]!r} in {text[:80]!r} is neither N nor a positive integer")
    return int(dim)


# Passes from files.


def load_option(command: Command) -> Command:
    """Add `--load my_pass.py`; the command receives `load`, a tuple of paths."""
    return click.option(
        "--load",
        multiple=True,
        type=FILE,
        metavar="FILE.py",
        help="Run a Python file and offer the passes it defines. Repeat for more files.",
    )(command)


def registry_with(files: Sequence[Path]) -> Registry:
    """Return the known passes and those the files define."""
    from snnc.passes.registry import default_registry

    registry = default_registry()
    for path in files:
        registry.load_file(path)
    return registry


# Data.


@dataclass(frozen=True, slots=True)
class DataOptions:
    """How to read a data file, as given; all None if nothing was."""

    scale: str | None
    mean: str | None
    std: str | None
    limit: int | None
    bins: int | None

    @property
    def normalises(self) -> bool:
        return any(text is not None for text in (self.scale, self.mean, self.std))

    def refuse_idle(self, calibration: Path | None) -> None:
        """Refuse options about calibration data where there are none."""
        if calibration is None and (self.normalises or self.limit is not None or self.bins is not None):
            raise click.UsageError(
                "--scale, --mean, --std, --limit and --bins are about --calibration, which is not given."
            )

    def normalise(self) -> Normalise:
        """Return the normalisation that was given; `OptionError` if it is not one."""
        from snnc.data import Normalise

        scale = numbers("--scale", self.scale, "1")
        if len(scale) > 1:
            raise OptionError(f"--scale takes one number, not {len(scale)}")
        if scale[0] == 0:
            raise OptionError("--scale 0 makes every sample 0", help="1 leaves them as they are")
        std = numbers("--std", self.std, "")
        if any(value <= 0 for value in std):
            raise OptionError(f"--std {self.std} is not positive throughout", help="data are divided by it")
        return Normalise(scale[0], numbers("--mean", self.mean, ""), std)

    def load(self, path: Path) -> Dataset:
        """Read a data file, normalised as given."""
        from snnc.data import load_data

        return load_data(path, normalise=self.normalise(), limit=self.limit, bins=self.bins)

    def load_for(self, graph: Graph, path: Path, notes: Notes) -> Dataset:
        """Read a data file, normalised as given or else as the network's calibration data were."""
        from snnc.data import load_data

        if self.normalises:
            return self.load(path)
        recorded = recorded_normalise(graph.meta)
        dataset = load_data(path, normalise=recorded, limit=self.limit, bins=self.bins)
        shown = show_normalise(recorded)
        if shown:
            notes.note(
                f"data are normalised as for calibration: {shown}  (--scale 1 leaves them as they are)"
            )
        return dataset


def data_options(command: Command) -> Command:
    """Add --scale, --mean, --std, --limit and --bins; the command receives them as `data`, `DataOptions`."""

    @functools.wraps(command)
    def collected(
        *,
        scale: str | None,
        mean: str | None,
        std: str | None,
        limit: int | None,
        bins: int | None,
        **others: Any,
    ) -> None:
        command(data=DataOptions(scale, mean, std, limit, bins), **others)

    options = (
        click.option("--scale", metavar="NUMBER", help="Multiply the samples, for example by 1/255."),
        click.option("--mean", metavar="NUMBERS", help="Then subtract, per channel: .485,.456,.406."),
        click.option("--std", metavar="NUMBERS", help="Then divide, per channel: .229,.224,.225."),
        click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Take the first N samples."),
        click.option(
            "--bins", type=click.IntRange(min=1), metavar="T", help="Count address events in T time steps."
        ),
    )
    result: Command = collected
    for option in reversed(options):
        result = option(result)
    return result


def numbers(option: str, given: str | None, default: str) -> tuple[float, ...]:
    """Return the numbers of an option, none for the empty text; `OptionError` names the option."""
    from snnc.data import parse_numbers

    text = default if given is None else given
    if not text and given is None:
        return ()
    try:
        return parse_numbers(text)
    except OptionError as error:
        raise OptionError(
            f"{option} {text[:80]!r} cannot be read",
            help="write numbers such as 0.5 or 1/255, with commas between",
        ) from error


def recorded_normalise(meta: Mapping[str, Any]) -> Normalise:
    """Return how calibration data were normalised, by a network's record; `ArchiveError` if it is damaged."""
    from snnc.data import Normalise

    calibration = meta.get("calibration")
    record = calibration.get("normalise") if isinstance(calibration, dict) else None
    if record is None:
        return Normalise()
    try:
        return Normalise(float(record["scale"]), *(tuple(map(float, record[key])) for key in ("mean", "std")))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ArchiveError(
            "the network's record of its calibration is damaged",
            help="say how to normalise the data: --scale, --mean, --std",
        ) from error


def show_normalise(normalise: Normalise) -> str:
    """Return a normalisation as options; empty if it changes nothing."""
    shown = [] if normalise.scale == 1 else [f"--scale {show_number(normalise.scale)}"]
    for option, values in (("--mean", normalise.mean), ("--std", normalise.std)):
        if values:
            shown.append(f"{option} {','.join(map(show_number, values))}")
    return " ".join(shown)


def show_number(value: float) -> str:
    """Return a number as a person would write it: 1/255 rather than 0.00392156862745098."""
    simple = Fraction(value).limit_denominator(1024) if abs(value) < 1 else Fraction(0)
    short = f"{value:.6g}"
    if float(short) == value:
        return short
    return str(simple) if float(simple) == value else repr(value)


def steps_to_run(graph: Graph, dataset: Dataset, given: int | None) -> int:
    """Return the time steps to run: as given, as many as the data have, or as recorded."""
    there = dataset.steps(graph)
    if there is not None and given is not None and given > there:
        raise OptionError(
            f"-T {given} asks for more time steps than the data have: {there}",
            help=f"give at most -T {there}",
        )
    return given or there or recorded_steps(graph.meta)


def recorded_steps(meta: Mapping[str, Any]) -> int:
    """Return the time steps that the network's record states; `ArchiveError` if it is damaged."""
    recorded = meta.get("steps", STEPS_IF_UNRECORDED)
    if type(recorded) is not int or not 1 <= recorded <= MAX_RECORDED_STEPS:
        raise ArchiveError(
            f"the network's record states {str(recorded)[:40]} time steps, which is not a number from 1 to "
            f"{MAX_RECORDED_STEPS}",
            help="say how many to run: -T",
        )
    return recorded


def recorded_shapes(meta: Mapping[str, Any]) -> dict[str, list[int | str]] | None:
    """Return the shapes that inputs were pinned to at compilation."""
    recorded = meta.get("shapes")
    return recorded if isinstance(recorded, dict) else None


# What runs a network.


def backend_options(*backends: str) -> Callable[[Command], Command]:
    """Add --backend, one of these, --device and --compiled, passed on by these names."""
    names = {"reference": "the reference simulator", "fast": "compiled neurons", "onnx": "onnxruntime",
             "torch": "PyTorch", "lava": "Lava (integers only)"}  # fmt: skip
    choose = click.option(
        "--backend",
        type=Choice(backends),
        default="reference",
        show_default=True,
        help=f"What runs the network: {', '.join(names[backend] for backend in backends)}. "
        "Only the reference simulator records; it and fast run every network.",
    )
    place = click.option(
        "--device", metavar="DEVICE", help="Where --backend torch runs: cpu, cuda or cuda:N. [default: cpu]"
    )
    fuse = click.option(
        "--compiled",
        is_flag=True,
        help="Have --backend torch make one function of all steps with torch.compile. That takes a minute, "
        "and on a processor a C++ compiler.",
    )
    return lambda command: choose(place(fuse(command)))


# Files to write.


FOREIGN_SUFFIXES = (".onnx", ".npz", ".npy", ".py", ".safetensors")


def check_network_name(path: Path) -> None:
    """Refuse to write a network into a file that is named like something else."""
    if path.suffix in FOREIGN_SUFFIXES:
        raise OptionError(f"a network is not a {path.suffix} file", help=f"name it {path.stem}.sir")


def check_writable(path: Path, *sources: Path | None) -> None:
    """Refuse, before any work is done, an output that cannot be written or that is one of the inputs."""
    from snnc.ir.output import cannot_write, check_target, scratch_path

    target = check_target(path)
    for source in sources:
        if source is not None and source.exists() and target.exists() and target.samefile(source):
            raise OptionError(f"{path} is an input of this command", help="name another file to write")
    scratch = scratch_path(target.parent)
    try:
        scratch.touch(exist_ok=False)
        scratch.unlink()
    except OSError as error:
        raise cannot_write(path, error) from error
