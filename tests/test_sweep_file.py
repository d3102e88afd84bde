"""Sweep files: what they say, what is refused, and that every fault names file, line and field."""

from pathlib import Path
from typing import Any

import pytest

from mutransfer.models.optimizers.registry import OPTIMIZERS
from mutransfer.models.recipe.likes import LIKES
from mutransfer.models.recipe.shape import Shape
from mutransfer.orchestrator.planning.plan import Job
from mutransfer.orchestrator.record.directory import SweepDirectory
from mutransfer.orchestrator.run.reconcile import as_recorded
from mutransfer.sweeps.load import Sweep, load_sweep, preset_names, resolved
from mutransfer.sweeps.problem import SpecError
from mutransfer.sweeps.proxy import recipe_of
from mutransfer.sweeps.trial import trial_of


def with_changes(path: Path, *changes: tuple[str, str]) -> str:
    """The small sweep with some of its text replaced."""
    text = path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    return str(path)


def faults(path: str, *overrides: str) -> list[str]:
    with pytest.raises(SpecError) as error:
        load_sweep(path, overrides)
    lines = str(error.value).splitlines()
    assert all(line.startswith((path, "--set")) for line in lines), lines
    return [line.removeprefix(path + ":").strip() for line in lines]


def values(sweep: Sweep, name: str) -> list[object]:
    points = [recipe_of(trial).point() for trial in sweep.expansion.trials]
    return list(dict.fromkeys(point[name] for point in points))


def test_axes_multiply(sweep_file: Path) -> None:
    sweep = load_sweep(str(sweep_file))
    assert len(sweep.expansion.trials) == 2 * 2 * 3
    assert values(sweep, "learning_rate") == [2.0**-8, 2.0**-6, 2.0**-4]
    assert values(sweep, "width") == [8, 16]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("[1e-3, 2E-3]", [0.001, 0.002]),
        ("[1e-3, 1]", [0.001, 1]),
        ("{log10: [-3, -1]}", [0.001, 0.01, 0.1]),
        ("{log2: [-3, -2], step: 0.5}", [2**-3.0, 2**-2.5, 2**-2.0]),
        ("{log10: [-3, 0], step: 0.333}", [10 ** (-3 + 0.333 * index) for index in range(10)]),
        ("{log10: [-3, -2], step: 0.333}", [10**-3.0, 10**-2.667, 10**-2.334, 10**-2.001]),
    ],
)
def test_numbers_and_log_ranges(sweep_file: Path, written: str, meant: list[float]) -> None:
    path = with_changes(sweep_file, ("{log2: [-8, -4], step: 2}", written))
    assert values(load_sweep(path), "learning_rate") == pytest.approx(meant)


@pytest.mark.parametrize(("base", "step"), [("log10", 0.2), ("log10", 0.1), ("log10", 0.3), ("log2", 0.1)])
def test_a_value_of_a_range_does_not_depend_on_where_it_begins(
    sweep_file: Path, base: str, step: float
) -> None:
    """A range that is extended below trains what is new."""
    range_, found = "{log2: [-8, -4], step: 2}", []
    for low in (-3, -6):
        longer = f"{{{base}: [{low}, 0], step: {step}}}"
        found.append(values(load_sweep(with_changes(sweep_file, (range_, longer))), "learning_rate"))
        range_ = longer
    short, long = found
    assert {*short} <= {*long} and len(long) > len(short)


def test_trials_of_ranges_as_they_were_made_keep_their_results(sweep_file: Path, tmp_path: Path) -> None:
    """Version 0.1 made 10 ** (-3 + 0.2 * 11), which differs from 10 ** -0.8 in its last digit."""
    written = "{log10: [-3, 0], step: 0.2}"
    sweep = load_sweep(with_changes(sweep_file, ("{log2: [-8, -4], step: 2}", written)))
    older = {10.0 ** round(-3 + 0.2 * i, 9): 10.0 ** (-3 + 0.2 * i) for i in range(16)}
    assert any(new != old for new, old in older.items())
    programs = [trial.program for trial in sweep.expansion.trials]
    before = [
        trial_of(program.at({"learning_rate": older[recipe_of(trial).learning_rate]}))
        for trial, program in zip(sweep.expansion.trials, programs, strict=True)
    ]
    directory = SweepDirectory(tmp_path / "old")
    job = Job("job", tuple(before), 1.0)
    directory.write_plan([job], before, new=[job])
    assert [trial.id for trial in as_recorded(sweep.expansion.trials, directory)] == [t.id for t in before]
    assert as_recorded(sweep.expansion.trials, SweepDirectory(tmp_path / "new")) == sweep.expansion.trials


@pytest.mark.parametrize(
    ("theirs", "ours"), [("lr", "learning_rate"), ("bs", "batch_size"), ("wd", "weight_decay")]
)
def test_what_people_call_a_field_names_it(sweep_file: Path, theirs: str, ours: str) -> None:
    (found,) = faults(with_changes(sweep_file, ("learning_rate: {", f"{theirs}: [0.5]\n  learning_rate: {{")))
    assert f"axes.{theirs}: is not a field of a trial; did you mean {ours}?" in found


def test_log_ranges_of_integers_are_integers(sweep_file: Path) -> None:
    path = with_changes(sweep_file, ("width: [8, 16]", "width: {log2: [3, 5]}"))
    widths = values(load_sweep(path), "width")
    assert widths == [8, 16, 32]
    assert all(type(width) is int for width in widths)
    odd = with_changes(sweep_file, ("width: {log2: [3, 5]}", "width: {log2: [3, 5], step: 0.5}"))
    assert any("is not an integer" in line for line in faults(odd))


def test_sequences_longer_than_the_text(sweep_file: Path) -> None:
    (found,) = faults(with_changes(sweep_file, ("sequence_length: 16", "sequence_length: 2000")))
    assert "data: the validation part has 225 tokens, too few for a sequence of 2,000 and its target" in found


def test_zip_advances_together(sweep_file: Path) -> None:
    change = ("  width: [8, 16]", "  width: [16, 32]\n  head_dim: [8, 16]\nzip: [[width, head_dim]]")
    path = with_changes(sweep_file, ("  head_dim: 8\n", ""), (change[0], change[1]))
    path_text = Path(path).read_text().replace("zip: [[width, head_dim]]\n", "")
    Path(path).write_text(path_text + "zip: [[width, head_dim]]\n")
    trials = load_sweep(path).expansion.trials
    assert {(recipe_of(t).shape.width, recipe_of(t).shape.head_dim) for t in trials} == {(16, 8), (32, 16)}


def test_exclude_leaves_points_out(sweep_file: Path) -> None:
    path = with_changes(sweep_file, ("data:", "exclude: [{width: 8, parametrization: sp}]\ndata:"))
    trials = load_sweep(path).expansion.trials
    assert len(trials) == 9
    assert not any((recipe_of(t).shape.width, recipe_of(t).parametrization) == (8, "sp") for t in trials)


def test_equal_points_collapse(sweep_file: Path) -> None:
    path = with_changes(sweep_file, ("width: [8, 16]", "width: [8, 16, 16]"))
    sweep = load_sweep(path)
    assert (len(sweep.expansion.trials), sweep.expansion.collapsed) == (12, 6)


def test_fields_that_an_optimizer_does_not_read_collapse(sweep_file: Path) -> None:
    """AdamW has no momentum: sweeping it adds nothing."""
    path = with_changes(sweep_file, ("  width: [8, 16]", "  width: [8, 16]\n  momentum: [0.8, 0.9]"))
    assert len(load_sweep(path).expansion.trials) == 12


def test_overrides(sweep_file: Path) -> None:
    sweep = load_sweep(str(sweep_file), ["steps=7", "width=[16]", "base.width=8", "name=other"])
    assert values(sweep, "steps") == [7]
    assert values(sweep, "width") == [16]
    assert sweep.spec.base is not None and sweep.spec.base.width == 8
    assert sweep.spec.name == "other"
    assert values(load_sweep(str(sweep_file), ["width=16"]), "width") == [16]


def test_the_name_defaults_to_the_files_stem(sweep_file: Path) -> None:
    assert load_sweep(with_changes(sweep_file, ("name: tiny\n", ""))).spec.name == "tiny"


@pytest.mark.parametrize("name", preset_names())
def test_presets_are_valid(name: str, tmp_path: Path) -> None:
    """Presets that need the user's tokens are checked with a token file in place."""
    import numpy as np

    overrides = []
    try:
        load_sweep(name)
    except SpecError as error:
        assert "tokens" in str(error) or "train.bin" in str(error), error
        np.zeros(1 << 16, dtype=np.uint16).tofile(tmp_path / "train.bin")
        overrides = [f"data.tokens={tmp_path / 'train.bin'}"]
    assert len(load_sweep(name, overrides).expansion.trials) >= (2 if name == "norm-scale" else 12)


def test_all_faults_at_once_with_their_lines(sweep_file: Path) -> None:
    path = with_changes(
        sweep_file,
        ("steps: 5", "steps: many"),
        ("optimizer: adamw", "optimizer: adam"),
        ("batch_size: 2", "batchsize: 2"),
        ("width: [8, 16]", "width: 8"),
        ("name: tiny", "name: tiny\ncolour: red"),
    )
    found = faults(path)
    assert f"6: fixed.optimizer: 'adam' is not one of {', '.join(OPTIMIZERS)}" in found
    assert "9: fixed.steps: 'many' is not an integer" in found
    assert "10: fixed.batchsize: is not a field of a trial; did you mean batch_size?" in found
    assert "15: axes.width: 8 is one value; write [8], or move it to fixed" in found
    assert any(
        line.startswith("2: colour: is not a key of a sweep file; known keys: axes, base,") for line in found
    )
    assert len(found) == 5


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("width: [8, 16]", "width: [8, 20]", "14: axes.width: 20 is not a multiple of head_dim 8; nearest widths: 16, 24"),  # noqa: E501
        ("width: [8, 16]", "width: []", "14: axes.width: an axis needs at least one value"),
        ("width: [8, 16]", "width: [8, true]", "14: axes.width.1: True is not an integer"),
        ("steps: 5", "steps: 5.5", "8: fixed.steps: 5.5 is not an integer"),
        ("steps: 5", "steps: 0", "8: fixed.steps: 0 is not positive"),
        ("steps: 5", "steps: '5'", "8: fixed.steps: '5' is not an integer"),
        ("steps: 5", "steps: 5\n  beta1: 1.0", "9: fixed.beta1: 1.0 is outside [0, 1)"),
        ("steps: 5", "steps: 5\n  epsilon: .inf", "9: fixed.epsilon: inf is not a finite number"),
        ("steps: 5", "steps: 5\n  vocab_size: 9", "9: fixed.vocab_size: is decided by data; remove it here"),
        ("steps: 5", "steps: 5\n  width: 8", "9: fixed.width: is under axes too; keep one of the two"),
        ("  steps: 5\n", "", "3: fixed.steps: is missing; give it under fixed, or its values under axes"),
        ("{log2: [-8, -4], step: 2}", "{log2: [-4, -8]}", "15: axes.learning_rate: log range from -4 to -8 in steps of 1 is empty; step must be positive, low <= high"),  # noqa: E501
        ("{log2: [-8, -4], step: 2}", "{log3: [1, 2]}", "15: axes.learning_rate: a log range is written {log2: [low, high], step: s} or {log10: [low, high], step: s}"),  # noqa: E501
        ("{log2: [-8, -4], step: 2}", "{log2: [-8, -3], step: 2}", "15: axes.learning_rate: log2: steps of 2 from -8 end at -4, not at -3; write [-8, -4], or a step that divides -8 to -3"),  # noqa: E501
        ("{log2: [-8, -4], step: 2}", "{log2: [0, 40.05], step: 0.1}", "15: axes.learning_rate: log2: steps of 0.1 from 0 end at 40.0, not at 40.05; write [0, 40.0], or a step that divides 0 to 40.05"),  # noqa: E501
        ("{log2: [-8, -4], step: 2}", "{log10: [-4, -1], step: 0.334}", "15: axes.learning_rate: log10: steps of 0.334 from -4 end at -1.328, not at -1; write [-4, -1.328], or a step that divides -4 to -1"),  # noqa: E501
        ("{log2: [-8, -4], step: 2}", "{log2: [0, 5000]}", "15: axes.learning_rate: log2: 5000 is beyond what a float can hold"),  # noqa: E501
        ("{log2: [-8, -4], step: 2}", "{log2: [0, 1], step: 1e-9}", "15: axes.learning_rate: the log range has 1,000,000,000 values; at most 10,000 are taken"),  # noqa: E501
        ("base: {width: 16, depth: 1}\n", "", "base: is missing; muP needs the base shape, such as {width: 32, depth: 2}"),  # noqa: E501
        ("base: {width: 16, depth: 1}", "base: {width: 12, depth: 1}", "2: base.width: 12 is not a multiple of head_dim 8; nearest widths: 8, 16"),  # noqa: E501
        ("base: {width: 16, depth: 1}", "base: {width: wide, depth: 1}", "2: base.width: input should be a valid integer, not 'wide'"),  # noqa: E501
        ("head_dim: 8", "head_dim: 8\n  heads: 2", "7: fixed.head_dim: give exactly one of head_dim (widening adds heads) and heads (widening grows head_dim)"),  # noqa: E501
        ("name: tiny", "name: ../up", "1: name: '../up' cannot name a folder; use up to 100 letters, digits, '.', '_' and '-'"),  # noqa: E501
        ('{text: "text/*.txt"}', "{text: '*.md', corpus: python-stdlib}", "16: data: give exactly one of corpus, text, parquet, dataset, tokens, not corpus and text"),  # noqa: E501
        ('{text: "text/*.txt"}', "{tokens: a.bin}", "16: data.vocab_size: is missing; a token file does not say how many tokens exist"),  # noqa: E501
        ('{text: "text/*.txt"}', "{task: mqar}", "16: data.vocab_size: is missing; mqar draws its keys and values from it, such as 64"),  # noqa: E501
        ('{text: "text/*.txt"}', "{task: mqar, vocab_size: 64, pairs: 9}", "16: data: 9 pairs and their queries take 27 positions, more than sequence_length 16; give fewer pairs or longer sequences"),  # noqa: E501
        ('{text: "text/*.txt"}', "{task: regression, text: a.txt}", "16: data.text: regression makes up its data; remove it, or give another task"),  # noqa: E501
        ('{text: "text/*.txt"}', "{task: recall}", "16: data.task: input should be 'next-token', 'masked', 'classification', 'mqar' or 'regression', not 'recall'"),  # noqa: E501
        ('{text: "text/*.txt"}', '{text: "text/*.txt", pairs: 3}', "16: data.pairs: belongs to task mqar; remove it"),  # noqa: E501
        ('{text: "text/*.txt"}', '{text: "text/*.txt", dtype: uint8}', "16: data.dtype: belongs to tokens; remove it"),  # noqa: E501
        ('{text: "text/*.txt"}', '{text: "text/*.txt", vocab_size: 9}', "16: data.vocab_size: belongs to tokens and mqar; text has that of its tokenizer, or 256 byte values"),  # noqa: E501
        ('{text: "text/*.txt"}', '{parquet: a, task: classification}', "16: data.label: is missing; name the column that holds the class"),  # noqa: E501
        ('{text: "text/*.txt"}', '{text: "text/*.txt", task: classification}', "16: data: classification needs at least two classes; give a label, or more files"),  # noqa: E501
        ('{text: "text/*.txt"}', '{parquet: "*.parquet"}', "16: data: no file matches"),
        ("steps: 5", "steps: 5\n  causal: false", "9: fixed.causal: next tokens are there to be seen; give true, or task masked or classification"),  # noqa: E501
        ("steps: 5", "steps: 5\n  learnable_multipliers: everywher", "9: fixed.learnable_multipliers: 'everywher' is no placement; give none, attention, gdn, mamba2, mlp, embedding, all, everywhere, or PATTERN=KIND[+KIND] such as readout=scalar"),  # noqa: E501
        ("data:", "search: {trials: 4, space: {dropout: {log2: [-8, -4]}}}\ndata:", "16: search.space: dropout cannot be searched; choose from learning_rate"),  # noqa: E501
        ("data:", "zip: [[width, depth]]\ndata:", "16: zip.0: depth is not under axes"),
        ("data:", "zip: [[width, width]]\ndata:", "16: zip.0: name at least two axes that advance together"),
        ("data:", "zip: [[width, learning_rate]]\ndata:", "16: zip.0: zipped axes need the same number of values; width has 2, learning_rate has 3"),  # noqa: E501
        ("data:", "exclude: [{width: 12}]\ndata:", "16: exclude.0.width: 12 is not a value of that axis"),
        ("data:", "exclude: [{steps: 5}]\ndata:", "16: exclude.0.steps: is not under axes; a point is left out by its axis values"),  # noqa: E501
    ],
)  # fmt: skip
def test_one_fault(sweep_file: Path, old: str, new: str, message: str) -> None:
    assert any(fault.startswith(message) for fault in faults(with_changes(sweep_file, (old, new))))


def test_a_folder_may_look_like_a_pattern(sweep_file: Path) -> None:
    folder = sweep_file.parent / "w[1]"
    folder.mkdir()
    (folder / "a[2].txt").write_text("the quick brown fox " * 50)
    for text in ("a[2].txt", "*.txt"):
        path = folder / "odd.yaml"
        path.write_text(sweep_file.read_text().replace("text/*.txt", text))
        assert len(load_sweep(str(path)).expansion.trials) == 12


def test_a_missing_text_is_named(sweep_file: Path) -> None:
    (found,) = faults(with_changes(sweep_file, ("text/*.txt", "absent/*")))
    assert "data: no file matches" in found and "absent/*" in found


def test_oversized_sweeps_are_refused_with_their_count(sweep_file: Path) -> None:
    huge = "width: {log2: [3, 4]}\n  seed: [" + ", ".join(map(str, range(9000))) + "]"
    seeds = huge.split("\n")[1]
    path = with_changes(sweep_file, ("  width: [8, 16]", f"  width: [8, 16]\n{seeds}"))
    (found,) = faults(path)
    assert found == "12: axes: expands to 108,000 trials; at most 100,000 are taken, so thin an axis"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("steps", "--set steps: write --set key=value"),
        ("steps=[1", "--set steps=[1: the value is not valid YAML"),
        ("steps=!!python/object:x {}", "the tag"),
        ("name.x=1", "--set name.x=1: name is not a mapping in"),
        ("stepz=3", "stepz: is not a key of a sweep file"),
        ("steps=", "fixed.steps: None is not an integer (from --set)"),
        (
            "width=[8, 12]",
            "axes.width: 12 is not a multiple of head_dim 8; nearest widths: 8, 16 (from --set)",
        ),
    ],
)
def test_bad_overrides_name_themselves(sweep_file: Path, override: str, message: str) -> None:
    assert any(message in line for line in faults(str(sweep_file), override))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("slurm: {partitionn: gpu}", "slurm.partitionn: is not a key of slurm; did you mean partition?"),
        ("slurm: {time: 1.5}", "slurm.time: "),
        ("slurm: {gpus_per_node: 0}", "slurm.gpus_per_node: "),
        ('slurm: {comment: "a\\nrm -rf /"}', "slurm.comment: "),
        ("slurm: gpu", "slurm: "),
    ],
)
def test_slurm_options_are_checked(sweep_file: Path, lines: str, message: str) -> None:
    sweep_file.write_text(f"{sweep_file.read_text()}{lines}\n")
    with pytest.raises(SpecError) as caught:
        load_sweep(str(sweep_file), [])
    assert message in str(caught.value)


def test_slurm_options_are_no_part_of_a_trial(sweep_file: Path) -> None:
    before = [trial.id for trial in load_sweep(str(sweep_file), []).expansion.trials]
    sweep_file.write_text(f"{sweep_file.read_text()}slurm: {{partition: gpu, time: 60}}\n")
    sweep = load_sweep(str(sweep_file), [])
    assert [trial.id for trial in sweep.expansion.trials] == before
    assert resolved(sweep.spec)["slurm"] == {"partition": "gpu", "time": 60}


def test_an_unknown_key_within_a_mapping_of_sections_is_named(sweep_file: Path) -> None:
    with sweep_file.open("a") as file:
        file.write("search: {trials: 4, space: {weight_decay: {log2: [-9, -3], lgo10: 1}}}\n")
    place = "search.space.weight_decay"
    told = f"{place}.lgo10: is not a key of {place}; did you mean log10?"
    assert any(told in line for line in faults(str(sweep_file)))


def like(path: Path, told: str) -> str:
    return with_changes(path, ("architecture: transformer", f"like: {told}"))


def test_like_stands_for_the_fields_of_a_model_where_nothing_else_is_said(sweep_file: Path) -> None:
    point = recipe_of(
        load_sweep(like(sweep_file, "gpt2"), ["norm_eps=1e-6", "mlp_ratio=[2, 4]"]).expansion.trials[0]
    ).point()
    assert {**LIKES["gpt2"], "norm_eps": 1e-6, "mlp_ratio": 2}.items() <= point.items()


def test_like_is_spelled_out_in_what_is_recorded(sweep_file: Path) -> None:
    sweep = load_sweep(like(sweep_file, "gpt2"))
    written = resolved(sweep.spec)
    assert "like" not in written["fixed"] and written["fixed"]["gelu"] == "tanh"


def test_heads_of_keys_and_values_replace_those_of_the_model(sweep_file: Path) -> None:
    (sizes,) = values(load_sweep(like(sweep_file, "llama"), ["kv_heads=1", "head_dim=4"]), "kv_heads")
    assert sizes == 1
    message = "queries_per_kv: 2 heads are not a multiple of 4"
    assert any(message in fault for fault in faults(str(sweep_file), "head_dim=8", "width=[16, 32]"))


def test_growing_heads_where_the_model_has_two_sizes(sweep_file: Path) -> None:
    told = faults(like(sweep_file, "falcon-h1"), "heads=2", "head_dim=null", "queries_per_kv=null")
    assert any("state_head_ratio: needs heads of a fixed size" in fault for fault in told)


def test_a_search_that_is_none_beside_a_model(sweep_file: Path) -> None:
    assert faults(like(sweep_file, "gpt2"), "search=random")


def test_a_ratio_is_exact_but_for_rounding() -> None:
    sizes: dict[str, Any] = {"architecture": "transformer", "depth": 1, "sequence_length": 4, "vocab_size": 8}
    assert Shape(**sizes, width=640, head_dim=64, head_ratio=1.1).head_count == 11
    assert Shape(**sizes, width=96, head_dim=16, head_ratio=4 / 3).head_count == 8


def test_a_model_that_is_not_known_is_named_alone(sweep_file: Path) -> None:
    (fault,) = faults(like(sweep_file, "gtp2"))
    assert "fixed.like: 'gtp2' is no model that is known: llama, " in fault
    assert load_sweep(str(sweep_file), ["like=gpt2"]).expansion.trials


def test_norms_of_the_sums_beside_branches_side_by_side(sweep_file: Path) -> None:
    told = faults(str(sweep_file), "norm_place=sum", "parallel_residual=true")
    assert any("norm_place: sum norms the stream between mixer and MLP; give" in fault for fault in told)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("head_ratio=0.3", "head_ratio: 0.3 x width 8 is no positive multiple of head_dim 8"),
        ("state_head_dim=3", "width: 8 is not a multiple of state_head_dim 3; nearest widths: 6, 9"),
        ("rotary_share=0.1", "rotary_share: 0.1 of a head of 8 is no even number above 0"),
        ("rotary_share=2", "rotary_share: 2 is outside (0, 1]"),
        ("fixed_multipliers=gate", "fixed_multipliers: 'gate' is not MODULE=NUMBER"),
        ("fixed_multipliers='mlp.gate=0'", "fixed_multipliers: 'mlp.gate=0' is not MODULE=NUMBER"),
        ("fixed_multipliers='mlp.up=2, mlp.up=3'", "fixed_multipliers: mlp.up is named twice"),
        ("fixed_multipliers='mlp.gate=2'", "fixed_multipliers: mlp.gate is the end of no module's name"),
        (
            "learnable_multipliers='heads=row'",
            "learnable_multipliers: heads=row fits no matrix of a transformer",
        ),
    ],
)
def test_conventions_that_do_not_fit(sweep_file: Path, override: str, message: str) -> None:
    assert any(message in fault for fault in faults(str(sweep_file), override))
