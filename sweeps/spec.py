"""A sweep as the user states it, checked field by field against what a recipe accepts."""

import math
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import Field, TypeAdapter, ValidationError

from ..models.parametrization.registry import PARAMETRIZATIONS
from ..models.recipe.aliases import ALIASES
from ..models.recipe.budget import chosen_rules
from ..models.recipe.field import Field as Declared
from ..models.recipe.recipe import EXPERTS, FIELDS
from ..models.training.pruning import Pruning
from .adaptive import TUNED, PruneSpec, RefineSpec, SearchSpec
from .command.fields import LARGEST_INTEGER, unfit_name, unfit_value, unlike
from .command.spec import ProgramSpec
from .data import DataSpec, data_problems
from .like import KEY as LIKE
from .like import spelled_out
from .model import ModelSpec, builders
from .problem import Problem, Where
from .section import Section
from .slurm import SlurmSpec
from .tokens import INSTEAD, TOKEN_FIELDS, in_place_of

EXPONENT_DIGITS = 9
ROUNDED_STEP, MISSED = 0.002, 0.1
"""By what share a step may be too short to meet a log range's end, and by how much of a step the end may be
missed in all: 0.333 is meant to be a third."""
MAX_AXIS_VALUES = 10_000
LARGEST_NUMBER = 1e30

GIVEN: dict[str, Declared] = {
    name: field for name, field in FIELDS.items() if field.setting.decided_by is None
}
"""Every field of a recipe that `fixed` and `axes` may name."""
NAMED: dict[str, Declared] = {**GIVEN, **TOKEN_FIELDS}
"""And what may be given in place of some."""


class BaseSpec(Section):
    """What ratios refer to: the base shape, and batch and duration where rules follow those."""

    width: int = Field(gt=0)
    depth: int = Field(gt=0)
    experts: int | None = Field(default=None, gt=1, le=LARGEST_INTEGER)
    granularity: int | None = Field(default=None, gt=0, le=LARGEST_INTEGER)
    batch_size: int | None = Field(default=None, gt=0, le=LARGEST_INTEGER)
    batch_tokens: int | None = Field(default=None, gt=0, le=LARGEST_INTEGER)
    steps: int | None = Field(default=None, gt=0, le=LARGEST_INTEGER)
    tokens: int | None = Field(default=None, gt=0, le=LARGEST_INTEGER)
    tokens_per_parameter: float | None = Field(default=None, gt=0, le=1e9, allow_inf_nan=False)

    def point(self) -> dict[str, Any]:
        """As fields of a trial's point."""
        return {f"base_{name}": value for name, value in self.model_dump(exclude_none=True).items()}


class ToleranceSpec(Section):
    """What a transfer may cost before the verdict says that it does: the stricter of the two (verdict.md)."""

    nats: float = Field(default=0.05, gt=0)
    doublings: float = Field(default=0.25, gt=0)


class SweepSpec(Section):
    """One sweep file. `axes` hold the values of each axis, log ranges already expanded."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
    base: BaseSpec | None = None
    fixed: dict[str, Any] = Field(default_factory=dict)
    axes: dict[str, list[Any]] = Field(default_factory=dict)
    zip: list[list[str]] = Field(default_factory=list)
    exclude: list[dict[str, Any]] = Field(default_factory=list)
    data: DataSpec = DataSpec(corpus="python-stdlib")
    slurm: SlurmSpec = SlurmSpec()
    search: SearchSpec | None = None
    refine: RefineSpec | None = None
    prune: PruneSpec | None = None
    tolerance: ToleranceSpec | None = None
    program: ProgramSpec | None = None
    model: ModelSpec | None = None
    parametrizations: dict[str, Any] | None = None
    scale: str | None = None
    hyperparameter: str | None = None

    @property
    def along(self) -> str:
        """The field across whose values the optimum is to be stable."""
        given = {**self.fixed, **self.axes}
        usual = next((name for name in ("width", "depth") if len(self.axes.get(name, ())) > 1), "width")
        return self.scale or (usual if usual in given else next(iter(self.axes), usual))

    @property
    def pruning(self) -> Pruning | None:
        """The rule by which trials are stopped: compared along what is searched, or along the first
        hyperparameter that is swept and what advances with it."""
        if self.prune is None:
            return None
        swept = [name for name in TUNED if len(self.axes.get(name, ())) > 1][:1]
        together = [name for names in self.zip if {*names} & {*swept} for name in names if name in TUNED]
        along = [*self.search.space] if self.search is not None else [*swept, *together]
        return Pruning(tuple(dict.fromkeys(along)), **dict(self.prune))


def check_spec(raw: Mapping[str, Any]) -> tuple[SweepSpec | None, list[Problem]]:
    """The spec, or None and everything that is wrong with it."""
    problems = [
        Problem((name,), "is empty; write {} for its defaults, or take it out")
        for name in ("refine", "prune", "tolerance", "program", "model")
        if name in raw and raw[name] is None
    ]
    raw = spelled_out(raw, problems)
    if any(problem.where in (("program",), ("fixed", LIKE)) for problem in problems):
        return None, problems
    resolved = dict(raw)
    for section in ("fixed", "axes"):
        if isinstance(raw.get(section), Mapping):
            own = raw.get("program") is not None
            resolved[section] = _checked_section(section, raw[section], problems, own)
    try:
        spec = SweepSpec.model_validate(resolved)
    except ValidationError as error:
        problems += [Problem(_place(fault["loc"]), _reason(fault)) for fault in error.errors()]
        return None, problems
    problems += [*_missing(spec), *_zip_problems(spec), *_exclude_problems(spec)]
    if spec.program is None:
        problems += data_problems(spec.data)
    elif "data" in raw:
        problems.append(Problem(("data",), "a program has data of its own; take it out"))
    if spec.model is not None and (spec.program is not None or not builders(spec.fixed, spec.axes)):
        told = "describes an architecture of yours, package.module:build, and there is none; take it out"
        problems.append(Problem(("model",), told))
    if spec.program is not None and spec.base is not None:
        base = {*spec.base.model_dump(exclude_none=True)} & {*TOKEN_FIELDS}
        told = "is of our proxies; a program's base has batch_size and steps"
        problems += [Problem(("base", name), told) for name in sorted(base)]
    problems += _adaptive_problems(spec) + _scale_problems(spec) + _task_problems(spec)
    return (None if problems else spec), problems


def check_value(name: str, value: object) -> str | None:
    """What is wrong with one value of a field, or None."""
    field = NAMED[name]
    if value is None and field.nullable:
        return None
    if name == "budget_rules" and isinstance(value, str):
        return _rules_fault(value)
    try:
        TypeAdapter(field.kind).validate_python(value, strict=True)
    except ValidationError:
        return f"{value!r} is not {_wanted(field)}"
    if not field.chosen(value):
        return f"{value!r} is not {_wanted(field)}"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value!r} is not a finite number"
    largest = LARGEST_INTEGER if isinstance(value, int) else LARGEST_NUMBER
    if isinstance(value, int | float) and abs(value) > largest:
        return f"is larger than {largest:g}"
    return field.fault(value) if name in TOKEN_FIELDS else None


def _rules_fault(names: str) -> str | None:
    try:
        chosen_rules(names)
    except ValueError as error:
        return str(error)
    return None


def _checked_section(
    section: str, entries: Mapping[Any, Any], problems: list[Problem], own: bool
) -> dict[str, Any]:
    """`own`: a program of the user's has fields of any name beside ours."""
    checked: dict[str, Any] = {}
    fields = GIVEN if own else NAMED  # to a program, tokens are a field of its own
    for name, value in entries.items():
        where: Where = (section, str(name))
        if name not in fields and not (own and name not in FIELDS):
            problems.append(Problem(where, _unknown(str(name), own)))
            continue
        if name not in fields and (reason := unfit_name(str(name))):
            problems.append(Problem(where, reason))
            continue
        values = [value] if section == "fixed" else _axis_values(where, value, problems)
        if (
            section == "axes"
            and isinstance(value, Mapping)
            and (fields[name].kind is int if name in fields else all(item.is_integer() for item in values))
        ):
            # {log2: [4, 7]} is 16, 32, 64, 128 for a width.
            values = [int(item) if item.is_integer() else item for item in values]
        if name not in fields and (reason := unlike(values)):
            problems.append(Problem(where, reason))
        for index, item in enumerate(values):
            reason = check_value(name, item) if name in fields else unfit_value(str(name), item)
            if reason:
                problems.append(Problem(where if section == "fixed" else (*where, index), reason))
        checked[name] = value if section == "fixed" else values
    return checked


def _axis_values(where: Where, value: object, problems: list[Problem]) -> list[Any]:
    if isinstance(value, Mapping):
        values, reason = _log_range(value)
        if reason:
            problems.append(Problem(where, reason))
        return values
    if isinstance(value, list):
        if not value:
            problems.append(Problem(where, "an axis needs at least one value"))
        return list(value)
    told = "is empty" if value is None else f"{value!r} is one value; write [{value}], or move it to fixed"
    problems.append(Problem(where, told))
    return []


def _log_range(value: Mapping[Any, Any]) -> tuple[list[float], str | None]:
    """Values of {log2: [low, high], step: s}: base ** low, base ** (low + s), ... base ** high."""
    form = "a log range is written {log2: [low, high], step: s} or {log10: [low, high], step: s}"
    bases = [name for name in ("log2", "log10") if name in value]
    if len(bases) != 1 or set(value) - {*bases, "step"}:
        return [], form
    ends, step = value[bases[0]], value.get("step", 1)
    numbers = [*ends, step] if isinstance(ends, list) and len(ends) == 2 else []
    if not numbers or not all(_is_number(number) for number in numbers):
        return [], form
    low, high = ends
    if not step > 0 or high < low:
        return (
            [],
            f"log range from {low} to {high} in steps of {step} is empty; step must be positive, low <= high",
        )
    steps = (high - low) / step + 1e-6
    if steps >= MAX_AXIS_VALUES:
        return [], f"the log range has {steps:,.0f} values; at most {MAX_AXIS_VALUES:,} are taken"
    count = math.floor(steps) + 1
    reached = round(low + (count - 1) * step, EXPONENT_DIGITS)
    if high - reached > min(ROUNDED_STEP * count, MISSED) * step:
        told = f"steps of {step} from {low} end at {reached}, not at {high}"
        return [], f"{bases[0]}: {told}; write [{low}, {reached}], or a step that divides {low} to {high}"
    base = 2.0 if bases[0] == "log2" else 10.0
    try:
        # Rounded, so that a value does not depend on where the range begins.
        return [base ** round(low + index * step, EXPONENT_DIGITS) for index in range(count)], None
    except OverflowError:
        return [], f"{bases[0]}: {high} is beyond what a float can hold"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _missing(spec: SweepSpec) -> list[Problem]:
    searched = {*spec.search.space} if spec.search else set()
    given = {*spec.fixed, *spec.axes, *searched}
    problems = [
        Problem(("fixed", name), "is missing; give it under fixed, or its values under axes")
        for name, field in GIVEN.items()
        if field.required and name not in given and spec.program is None and not in_place_of(name, given)
    ]
    if spec.program is None:
        problems += _twice(spec, given)
    both = sorted({*spec.fixed} & {*spec.axes})
    problems += [Problem(("fixed", name), "is under axes too; keep one of the two") for name in both]
    given_names = [*spec.axes.get("parametrization", ()), spec.fixed.get("parametrization")]
    parametrizations = {name for name in given_names if isinstance(name, str)}
    known = [PARAMETRIZATIONS[name] for name in parametrizations if name in PARAMETRIZATIONS]
    if spec.base is None and any(held.needs_base for held in known):
        problems.append(
            Problem(("base",), "is missing; muP needs the base shape, such as {width: 32, depth: 2}")
        )
    elif any(held.needs_base for held in known):
        problems += [
            Problem(("base", name), f"is missing; {name} is an axis, and rules need the number they begin at")
            for name in EXPERTS
            if spec.program is None and len(spec.axes.get(name, ())) > 1 and getattr(spec.base, name) is None
        ]
    return problems


def _twice(spec: SweepSpec, given: set[str]) -> list[Problem]:
    """What is given as a field and in tokens, or as several numbers of tokens."""
    base = set() if spec.base is None else {*spec.base.model_dump(exclude_none=True)}
    problems = []
    for where, names in (("axes", given), ("base", base)):
        for field, others in INSTEAD.items():
            both = [name for name in (field, *others) if name in names]
            if len(both) > 1:
                section = where if where == "base" or both[1] in spec.axes else "fixed"
                problems.append(
                    Problem((section, both[1]), f"is given by {both[0]}, too; keep one of the two")
                )
    return problems


def _task_problems(spec: SweepSpec) -> list[Problem]:
    name = next((name for name in ("nodes", "ntasks_per_node") if (getattr(spec.slurm, name) or 1) > 1), None)
    if name is None:
        return []
    if spec.program is None or spec.program.command is None:
        told = "is 1, as a trial is one process; only the command of a program: is started several times"
        return [Problem(("slurm", name), told)]
    counts = spec.program.gpus.values() if isinstance(spec.program.gpus, dict) else [spec.program.gpus]
    nodes = spec.slurm.nodes or 1
    if uneven := [count for count in counts if count % nodes]:
        return [Problem(("program", "gpus"), f"{uneven[0]:g} GPUs cannot be shared evenly by {nodes} nodes")]
    return []


def _scale_problems(spec: SweepSpec) -> list[Problem]:
    for name in ("scale", "hyperparameter"):
        field = getattr(spec, name)
        if field is not None and not all(_is_number(value) for value in spec.axes.get(field, [None])):
            return [Problem((name,), f"{field} has no numbers under axes")]
    tuned = spec.hyperparameter or next((name for name in TUNED if name in spec.axes), None)
    if spec.scale is not None and spec.scale == tuned:
        return [Problem(("scale",), f"{spec.scale} is what is tuned; give what the models differ in")]
    if spec.prune is not None and spec.program is not None:
        return [Problem(("prune",), "knows no trial of a program of yours while it trains; take it out")]
    return []


def _adaptive_problems(spec: SweepSpec) -> list[Problem]:
    problems = []
    if spec.search is not None:
        both = sorted({*spec.search.space} & {*spec.fixed, *spec.axes})
        problems += [
            Problem(("search", "space", name), "is under fixed or axes too; keep one of the two")
            for name in both
        ]
        if spec.refine is not None:
            problems.append(
                Problem(("refine",), "refines a grid, and a search has none; keep one of the two")
            )
    elif spec.refine is not None and not any(len(spec.axes.get(name, [])) >= 3 for name in TUNED):
        told = f"needs a coarse grid: at least 3 values under axes of one of {', '.join(sorted(TUNED))}"
        problems.append(Problem(("refine",), told))
    if spec.pruning is not None and not spec.pruning.along:
        problems.append(Problem(("prune",), "compares values of a hyperparameter; give several under axes"))
    if spec.refine is not None:
        problems += [
            Problem(("zip", index), f"{' and '.join(tuned)} advance together, which refine cannot")
            for index, names in enumerate(spec.zip)
            if len(tuned := [name for name in names if name in TUNED]) > 1
        ]
    return problems


def _zip_problems(spec: SweepSpec) -> list[Problem]:
    problems = []
    seen: set[str] = set()
    for index, names in enumerate(spec.zip):
        where = ("zip", index)
        unknown = [name for name in names if name not in spec.axes]
        if unknown:
            problems.append(Problem(where, f"{', '.join(unknown)} is not under axes"))
        elif len({*names}) < 2:
            problems.append(Problem(where, "name at least two axes that advance together"))
        elif len({len(spec.axes[name]) for name in names}) > 1:
            lengths = ", ".join(f"{name} has {len(spec.axes[name])}" for name in names)
            problems.append(Problem(where, f"zipped axes need the same number of values; {lengths}"))
        for name in names:
            if name in seen:
                problems.append(Problem(where, f"{name} is zipped twice"))
            seen.add(name)
    return problems


def _exclude_problems(spec: SweepSpec) -> list[Problem]:
    problems = []
    for index, fields_equal in enumerate(spec.exclude):
        if not fields_equal:
            problems.append(Problem(("exclude", index), "an empty mapping would leave out every point"))
        for name, value in fields_equal.items():
            where = ("exclude", index, name)
            if name not in spec.axes:
                problems.append(Problem(where, "is not under axes; a point is left out by its axis values"))
            elif value not in spec.axes[name]:
                problems.append(Problem(where, f"{value!r} is not a value of that axis"))
    return problems


def _unknown(name: str, own: bool) -> str:
    if own and name in FIELDS:
        return "is a name of our own proxies' data and models; give the field another name"
    if name == LIKE:
        return "is no axis; give it under fixed"
    if name in FIELDS:
        return f"is decided by {FIELDS[name].setting.decided_by}; remove it here"
    import difflib

    meant = [field for field, others in ALIASES.items() if name.lower() in others and field in NAMED]
    close = meant or difflib.get_close_matches(name, NAMED, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known fields: {', '.join(sorted(NAMED))}"
    return f"is not a field of a trial; {hint}"


def _place(where: Where) -> Where:
    """As the file has it: pydantic says of a key that it is one."""
    return tuple(part for part in where if part != "[key]")


def _reason(fault: Mapping[str, Any]) -> str:
    """pydantic's reason in our words where those are clearer."""
    match fault["type"]:
        case "extra_forbidden":
            return _unknown_key(fault["loc"])
        case "model_type" | "dict_type":
            return f"is a mapping, such as {{key: value}}, not {_short(fault['input'])}"
        case "string_pattern_mismatch" if "environment" in fault["loc"]:
            return f"{_short(fault['input'])} is no name or text of a variable"
        case "missing":
            return "is missing"
        case "value_error":
            return str(fault["msg"]).removeprefix("Value error, ")
        case "string_pattern_mismatch" if fault["loc"][-1] == "function":
            return f"{fault['input']!r} is not written module:function"
        case "string_pattern_mismatch":
            return f"{fault['input']!r} cannot name a folder; use up to 100 letters, digits, '.', '_' and '-'"
        case _:
            return f"{fault['msg'][0].lower()}{fault['msg'][1:]}, not {_short(fault['input'])}"


def _unknown_key(where: Where) -> str:
    import difflib

    kind: Any = SweepSpec
    for part in where[:-1]:
        fields = getattr(_section_in(kind), "model_fields", {})
        kind = fields[part].annotation if part in fields else kind  # else the key of a mapping of sections
    keys = sorted(getattr(_section_in(kind), "model_fields", {}))
    trials = {} if len(where) > 1 else {name: f"fixed.{name}" for name in sorted(NAMED)}
    close = difflib.get_close_matches(str(where[-1]), [*keys, *trials], n=1)
    hint = f"did you mean {trials.get(close[0], close[0])}?" if close else f"known keys: {', '.join(keys)}"
    return f"is not a key of {'.'.join(map(str, where[:-1])) or 'a sweep file'}; {hint}"


def _section_in(kind: Any) -> type[Section] | None:  # noqa: ANN401 - an annotation
    """The section that a field holds, as it is or optional or by name."""
    found = (one for one in (kind, *get_args(kind)) if isinstance(one, type) and issubclass(one, Section))
    return next(found, None)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _wanted(field: Declared) -> str:
    if field.listed is not None:
        return "one of " + ", ".join(field.listed)
    return {int: "an integer", float: "a number", bool: "true or false", str: "a text"}[field.kind]
