"""The final loss of a program of the user's, by each rule, is what this attempt said of it: nothing else."""

import math
import os
from pathlib import Path

import pytest

from mutransfer.sweeps.command.loss import NoLossError, Written, curve, final_loss


def matched(pattern: str, *lines: str) -> float:
    return final_loss({"pattern": pattern}, iter(lines), Written(Path("none")))


@pytest.mark.parametrize("pattern", [r"val loss ([0-9.]+)", r"val loss (\S+)", r"loss (?P<loss>[0-9.e-]+)"])
@pytest.mark.parametrize(
    ("said", "loss"),
    [
        ("2.5", 2.5),
        ("2.5.", 2.5),
        ("2.5, done", 2.5),
        ("1e-05", 1e-5),
        ("1.2e+05", 1.2e5),
        ("inf", math.inf),
        ("nan", math.nan),
    ],
)
def test_a_pattern_reads_whole_numbers(pattern: str, said: str, loss: float) -> None:
    """However narrow its group: a loss that ends in nan is not the last finite one."""
    found = matched(pattern, "step 1 val loss 3.0\n", f"step 2 val loss {said}\n", "bye\n")
    assert found == pytest.approx(loss, nan_ok=True)


@pytest.mark.parametrize("said", ["2,5", "1,234.5"])
def test_a_comma_in_a_loss_is_no_point(said: str) -> None:
    with pytest.raises(NoLossError, match="has a comma; print the loss with a point alone"):
        matched(r"val loss ([0-9.]+)", f"val loss {said}\n")


def test_an_underscore_is_in_no_loss() -> None:
    with pytest.raises(NoLossError, match="'1_000' is no number"):
        matched(r"val loss (\S+)", "val loss 1_000\n")


def test_other_words_behind_a_number_are_left_out() -> None:
    assert matched(r"loss ([0-9.]+)", "loss 2.5/3.1\n") == 2.5
    assert matched(r"loss (\d+\.\d+)%", "loss 12.5%\n") == 12.5
    assert matched(r"loss: .*?([0-9.]+)", "loss: now at 2.5\n") == 2.5
    assert matched(r"a ([0-9.]+)?", "a 1.5\n", "a \n") == 1.5
    assert matched(r"loss ([0-9.]+)", "loss 3 loss 4 loss 2\n") == 2


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "losses"


def found_in(file: Path, first: str | None, then: str | None, how: str, rule: dict[str, str]) -> float:
    """What an attempt that wrote `then` is said to have reached, after one that wrote `first`."""
    if first is not None:
        file.write_text(first)
        os.utime(file, ns=(10**18, 10**18))
    written = Written(file)
    if then is not None:
        with file.open(how) as opened:
            opened.write(then)
    return final_loss({"file": "losses", **rule} if "key" in rule else rule, iter(()), written)


KEY = {"key": "loss"}


@pytest.mark.parametrize(
    ("first", "then", "how", "loss"),
    [
        (None, '{"loss": 2}\n', "w", 2),
        ('{"loss": 9}\n', '{"loss": 2}\n', "a", 2),
        ('{"loss": 9}\n', '{"loss": 2}\n', "w", 2),
        ('{"loss": 9}\n{"lo', '{"loss": 2}\n', "a", 2),
        ('{"loss": 9}\n', '{"loss": 9}\n', "w", 9),  # trained again from the first step: the same numbers
        ('{"loss": 9}\n', '{"loss": 9}\n{"loss": 8}\n', "w", 8),
        (None, '{"loss": 2}\r{"loss": 3}\r\n{"step": 1}\n', "w", 3),
        (None, '{"note": "a\u2028b", "loss": 2}\n', "w", 2),
        (None, '{"loss": 1' + "0" * 400 + "}\n", "w", math.inf),
        (None, "[" * 100_000 + '\n{"loss": 2}\n', "w", 2),
    ],
)
def test_a_file_holds_what_this_attempt_wrote(
    first: str | None, then: str, how: str, loss: float, file: Path
) -> None:
    assert found_in(file, first, then, how, KEY) == loss


@pytest.mark.parametrize(
    ("first", "then", "told"),
    [
        (None, None, "losses is not there"),
        ('{"loss": 9}\n', None, "losses is left from an earlier attempt; this one wrote nothing to it"),
        ('{"loss": 9}\n', '{"step": 2}\n', "no line of losses has 'loss'"),
        (None, '{\n "loss": 9\n}\n', "holds no line that is a JSON object by itself"),
        (None, '{"loss": true}\n', "True is no number"),
    ],
)
def test_what_is_left_of_an_earlier_attempt_is_no_result(
    first: str | None, then: str | None, told: str, file: Path
) -> None:
    with pytest.raises(NoLossError, match=told):
        found_in(file, first, then, "a", KEY)


COLUMN = {"csv": "losses", "column": "val"}


@pytest.mark.parametrize(
    ("first", "then", "how", "loss"),
    [
        (None, "step,val\n1,3\n2,2.5\n", "w", 2.5),
        (None, "step,val\n1,2.5\n2,\n", "w", 2.5),  # as loggers leave out what they have no value for
        (None, "step,val\n1,2.5\n2,nan\n", "w", math.nan),
        ("step,val\n1,9\n", "2,2.5\n", "a", 2.5),
        ("step,val\n1,9\n", "step,val\n1,8\n", "w", 8),
        ("step,val\n1,9\n", "step,val\n1,9\n2,8\n", "w", 8),
        (None, "\ufeffval,step\r\n2.5,1\r\n", "w", 2.5),
    ],
)
def test_a_column_holds_what_this_attempt_wrote(
    first: str | None, then: str, how: str, loss: float, file: Path
) -> None:
    assert found_in(file, first, then, how, COLUMN) == pytest.approx(loss, nan_ok=True)


def test_a_column_that_is_not_there_is_said_beside_those_that_are(file: Path) -> None:
    with pytest.raises(NoLossError, match="no value in a column 'val'; its columns are 'step;val'"):
        found_in(file, None, "step;val\n1;2\n", "w", COLUMN)
    with pytest.raises(NoLossError, match="is no CSV that can be read"):
        found_in(file, None, "step,val\n1," + "9" * 200_000 + "\n", "w", COLUMN)


def test_a_helper_has_to_finish_each_attempt(file: Path) -> None:
    """And a metric called final is a metric."""
    rule = {"helper": "true"}
    assert found_in(file, None, '{"final": true, "loss": 2}\n', "w", rule) == 2
    others = '{"final": true, "loss": 3, "rank": "1"}\n'
    assert found_in(file, None, others, "w", rule) == 3  # in a pipeline the last process has the loss
    assert found_in(file, None, '{"final": true, "loss": 2}\n' + others, "w", rule) == 2
    with pytest.raises(NoLossError, match="did not call trial"):
        found_in(file, '{"final": true, "loss": 9}\n', '{"step": 1, "final": 1}\n', "a", rule)


def test_a_curve_holds_only_what_it_can(file: Path) -> None:
    file.write_text(
        '{"step": 1, "train_loss": 3, "tokens": true}\n{"step": true, "train_loss": 3}\n'
        f'{{"step": {2**70}, "train_loss": 3}}\n'
        f'{{"step": 2, "tokens": {2**70}, "train_loss": 1{"0" * 400}}}\n'
        '{"step": 3, "final": 1, "train_loss": "low"}\n'
    )
    first, second, third = curve(file)
    assert (first.step, first.tokens, first.train_loss) == (1, None, 3)
    assert (second.step, second.tokens, second.train_loss) == (2, None, math.inf)
    assert third.step == 3 and math.isnan(third.train_loss)
