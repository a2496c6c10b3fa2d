"""What a chapter says about starts, from records whose numbers are known."""

import json
import math
import re
from dataclasses import asdict, replace
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import pytest
import torch
from torchvision.models import vgg11

from tests.records_by_hand import PROVENANCE, eval_path, eval_record, train_path, train_record
from vggrepro import UserError
from vggrepro.configs import layer_names
from vggrepro.pages import report
from vggrepro.pages import starts as page
from vggrepro.study import first_steps, own_training, store
from vggrepro.study import starts as declared
from vggrepro.study.budgets import at_budget
from vggrepro.study.experiments import Evaluation
from vggrepro.study.records import DataUsed, FirstStepsRecord, Signal
from vggrepro.study.starts import DECLARED, NETS, STARTS

matplotlib.use("Agg")
SLOW = "Take D-he-scaled-slow, from which D learned at full width in chapter 10: He on pixels"
NEVER = ("normal-std", "normal-variance", "pytorch")
CHAPTER = Path(__file__).parents[1] / "book" / "10_initialisation.py"


def signal(net, crop, activation=2.0, weight_gradient=0.05):
    names = layer_names(net)
    ones = (1.0,) * len(names)
    return Signal(
        crop=crop,
        images=16,
        input=50.0,
        layers=names,
        activation=(activation,) * len(names),
        gradient=(1e-3,) * (len(names) - 1) + (0.5,),
        weight=ones,
        weight_gradient=(weight_gradient,) * len(names),
    )


def record(name="D-glorot", losses=(2.5,) * 10 + (1.5,) * 10, steps=20, seed=0, **changes):
    experiment = changes.pop("experiment", DECLARED[name])
    net = experiment.config
    fields = {
        "experiment": json.loads(json.dumps(asdict(experiment))),
        "seed": seed,
        "precision": "bf16",
        "weights_digest": "12ab" * 16,
        "provenance": PROVENANCE,
        "data": (DataUsed(name="synthetic", split="train", count=3600, fingerprint="9f" * 32),),
        "classes": 10,
        "pixel_mean": (101.5, 102.25, 99.125),
        "before": (signal(net, 64), signal(net, 224, activation=3.0)),
        "after": signal(net, 64),
        "steps": steps,
        "losses": losses,
    }
    if len(losses) < steps:
        fields |= {"status": "diverged", "reason": "not finite", "after": None}
    return FirstStepsRecord(**{**fields, **changes})


def dead():
    after = signal("D", 64)
    activation = (*after.activation[:-2], 0.0, 1.0)
    return record("D-he", (9.0,) + (2.3,) * 19, after=after.model_copy(
        update={"activation": activation}
    ))  # fmt: skip


@pytest.mark.parametrize(
    ("made", "outcome"),
    [
        (record(), "learns"),
        (record(losses=(9.0,) * 18 + (2.1, 2.1)), "learns"),
        (record(losses=(2.31,) * 20), "at chance"),
        (record(losses=(2.0,) * 18 + (2.2, 2.2)), "at chance"),  # 0.95 ln 10 is 2.187
        (record(losses=(1e6, 1e9)), "diverged"),
        (record(losses=()), "diverged"),
        (dead(), "dead"),
    ],
)
def test_what_becomes_of_a_net(made, outcome):
    assert made.outcome == outcome


FAINT = (signal("D", 64, weight_gradient=0.0001), signal("D", 224))


@pytest.mark.parametrize(
    ("made", "said", "to_take"),
    [
        (record("D-glorot"), "learns: the loss starts at 2.5 and ends at 1.5", "with it: Glorot,"),
        (record("D-he", (300.0, 1e16)), "saturated: before any step the loss is 300", SLOW),
        (record("D-he", ()), "saturated: before any step the loss is inf", SLOW),
        (record("E-he", (300.0, 1e16)), "E-he saturated", "E-he-scaled-slow, from which E learned"),
        (record("D-glorot", (2.4, 1e9)), "diverges: the loss starts at 2.4", SLOW),
        (
            record("D-he-scaled", (5.8, 11.2) + (2.31,) * 18),
            "overshoots: the loss rose to 11.2",
            SLOW,
        ),
        (dead(), "D-he dead: no unit of fc7", SLOW),
        (record("D-normal-std", (2.3,) * 20, before=FAINT), "moves a weight by only 1e-06", SLOW),
        (
            record("A-he-scaled", (2.3,) * 20),
            "at chance: the loss stays near",
            "Take more --steps, or A-glorot, from",
        ),
        # What learned in the study, and does not on these photos.
        (record("D-he-scaled-slow", (2.3,) * 20), "D-he-scaled-slow fades", "D-glorot, from"),
        (record("A-glorot", (2.3,) * 20), "A-glorot at chance", "Take more --steps"),
        (record("A-glorot", (2.4, 1e9)), "A-glorot diverges", "a tenth of the rate: 0.001."),
        (record("E-he-scaled-slow", (2.4, 1e9)), "diverges", "a tenth of the rate: 0.0001."),
    ],
)
def test_advice_says_what_is_wrong_and_what_to_take(made, said, to_take):
    assert made.run + " " in declared.advice(made)
    assert said in declared.advice(made)
    assert to_take in declared.advice(made)
    assert "{" not in declared.advice(made)


def test_every_diagnosis_is_in_the_table_above():
    (table,) = test_advice_says_what_is_wrong_and_what_to_take.pytestmark
    assert {declared.wrong(made) for made, *_ in table.args[1]} == set(declared.WRONG)


def test_the_advice_is_what_the_recorded_first_steps_say():
    """The starts that are advised are those that learned; the limits lie between the recorded."""
    recorded = page.load(store.RECORDED, page.RECORDED_DATA)
    found = {made.run: declared.wrong(made) for made in recorded}
    assert {run for run, word in found.items() if word == "learns"} == set(declared.LEARNED)
    assert (
        found["D-he-scaled"] == found["E-he-scaled"] == "overshoots"
    )  # which the page 'Use the library' says
    assert not {run for run, word in found.items() if run[2:] in NEVER and word == "learns"}
    moved = {made.run: made.first_step for made in recorded}
    assert min(moved[run] for run in declared.LEARNED) > 3 * declared.FADED
    assert max(moved[run] for run in found if found[run] == "fades") < declared.FADED / 3


@pytest.mark.parametrize("name", declared.LEARNED)
def test_the_command_that_is_advised_trains_from_that_start(name):
    said, e = declared.advice(record(name)), DECLARED[name]
    command = re.search(r"\(vggrepro (train .*)\)", said)
    if e.input_divisor == 1:  # `train` divides the pixels
        assert command is None and "pixels from 0 to 255, rate 0.01" in said
        return
    assert e.input_divisor == own_training.INPUT_DIVISOR
    wanted = (
        f"train {e.config} PHOTOS --start {e.init} --learning-rate {e.learning_rate} --out FILE"
    )
    assert command[1] == wanted


def test_chance_is_the_logarithm_of_the_number_of_classes():
    assert record().chance == pytest.approx(math.log(10))


def written(folder, *records):
    for made in records:
        e = DECLARED[made.run]
        store.write(made, store.folder_of(folder, e, made.seed) / "first-steps.json")
    return page.load(folder)


@pytest.fixture
def found(tmp_path):
    return written(
        tmp_path,
        record("D-glorot"),
        record("D-glorot", seed=1),
        record("D-normal-std", (2.3,) * 20),
        record("D-normal-variance", (5e7, 4e9)),
        record("D-from-A", before=(signal("D", 64),)),
        dead(),
    )


def test_the_table_has_every_start_and_what_is_not_run(found):
    table = page.first_steps_table(found)
    assert table.shape == (len(STARTS), len(NETS))
    # the rate times the gradient over the weight: 0.01 * 0.05 / 1
    assert table.loc["Glorot", "D"] == "5.0 × 10⁻⁴<br>learns"
    assert table.loc["variance 0.01", "D"] == "5.0 × 10⁻⁴<br>diverged"
    assert table.loc["He", "D"] == "5.0 × 10⁻⁴<br>dead"
    assert table.loc["He", "E"] == "–"
    assert table.loc["from net A", "A"] == "–"


def test_evidence_is_what_became_of_nets_that_were_measured(found):
    assert page.evidence(found, "Net D", "D-normal-std", "D-glorot", "D-he-scaled") == (
        "*Net D:* normal of std 0.01 → at chance, last loss 2.30; "
        "Glorot → learns, last loss 1.50; Glorot → learns, last loss 1.50."
    )
    overflown = page.evidence(found, "Net D", "D-normal-variance")
    assert overflown == "*Net D:* normal of variance 0.01 → diverged."
    assert page.evidence(found, "Net E", "E-he") == "*Net E:* not run."
    assert page.evidence_by_net(found, "glorot").endswith("D → learns, last loss 1.50.")


def test_nothing_recorded_is_shown_as_such(tmp_path):
    assert set(page.first_steps_table(page.load(tmp_path))["E"]) == {"–"}


def test_records_of_different_sizes_are_not_shown_together(tmp_path):
    other = replace(DECLARED["A-he"], crop=96)
    with pytest.raises(UserError, match="different sizes"):
        written(tmp_path, record("D-he"), record("A-he", experiment=other))


def test_the_terminal_has_a_row_for_each_record(tmp_path):
    losses = (3.5e27,) * 10 + (470158246.0,) * 10
    made = record("D-normal-std", losses, before=(signal("D", 64, activation=1.2e-31),))
    written(tmp_path, made, record("D-he"), record("E-he", losses=()))
    paths = [
        store.folder_of(tmp_path, DECLARED[n], 0) / "first-steps.json"
        for n in ("D-normal-std", "E-he")
    ]
    table = first_steps.table(paths)
    assert list(table) == ["logits", "step/weight", "first loss", "last", "outcome"]
    assert table.loc["D-normal-std seed 0"].to_list() == [
        *("1.2e-31", "0.0005", "3.5e+27", "4.7e+08", "at chance"),
    ]
    assert table.loc["E-he seed 0"].to_list()[2:] == ["–", "–", "diverged"]


def test_numbers_as_people_write_them():
    assert [page.number(v) for v in (0.0, 0.2345, 123.4, 3.04e-9, 12345678.0)] == [
        "0",
        "0.23",
        "120",
        "3.0 × 10⁻⁹",
        "1.2 × 10⁷",
    ]


def test_the_gains_are_those_of_the_fact_that_two_readings_differ_so_much():
    table = page.gains_table()
    assert table.loc["variance 0.01", "all\u00a0of\u00a0A"] == "6.2 × 10⁵"
    assert table.loc["std 0.01", "all\u00a0of\u00a0A"] == "6.2 × 10⁻⁶"
    layer = "512 → 512".replace(" ", "\u00a0")
    assert table.loc["He", layer] == "1"
    assert table.loc["PyTorch's own", layer] == "0.41"


# --- trainings --------------------------------------------------------------------------------


@pytest.fixture
def column(tmp_path):
    for run, status in (("D-glorot", "ok"), ("D-normal-variance", "diverged")):
        experiment = at_budget(run, "smoke")
        made = train_record(experiment, status=status, reason="no longer finite in epoch 1")
        store.write(made, train_path(tmp_path, experiment, 0))
    return report.Column("rerun: drawn images, smoke", tmp_path, "smoke", "synthetic")


def test_trained_nets_stand_by_seed_where_one_stalled(column, tmp_path):
    glorot = column.experiment("D-glorot")
    for seed, minival in ((0, 20.0), (1, 90.0)):
        curve = train_record(glorot, seed).curve
        last = replace(curve[-1], minival_error=minival)
        made = train_record(glorot, seed, curve=(*curve[:-1], last))
        store.write(made, train_path(tmp_path, glorot, seed))
        path = eval_path(tmp_path, glorot, seed, Evaluation("centre-crop", (256,)))
        store.write(eval_record(glorot, seed), path)
    table = page.trained_table(column)
    assert list(table.columns) == ["A", "D", "E"]
    assert table.loc["variance 0.01", "D"] == "diverged<br>(seed 0)"
    assert table.loc["Glorot", "D"] == "27.3, 27.3<br>(at chance: seed 1)"
    assert list(table.loc["from net A"]) == ["–", "not run", "not run"]
    empty = report.Column("recorded: CIFAR-10, reduced", tmp_path / "no", "reduced", "cifar10")
    assert set(page.trained_table(empty).to_numpy().ravel()) == {"–", "not run"}


# --- figures ----------------------------------------------------------------------------------


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_figures_have_a_panel_per_net_and_every_seed(found):
    _, d, e = page.losses(found).axes
    curves = [line for line in d.lines if line.get_color() == page.STYLES["glorot"]["color"]]
    assert [list(line.get_ydata()) for line in curves] == [
        pytest.approx([2.0])
    ] * 2  # two seeds, the mean of twenty steps
    assert texts(d) == ["diverged:\nnormal of variance 0.01 (from 5.0 × 10⁷)"]
    low, high = d.get_ylim()
    assert low < math.log(10) < high
    assert texts(e) == ["not run"]
    axes = page.signals(found).axes
    assert [ax.get_title() for ax in axes[:2]] == ["A: activations", "A: gradients"]
    assert texts(axes[0]) == texts(axes[5]) == ["not run"]
    assert {ax.get_yscale() for ax in axes} == {"log"}
    assert {len(line.get_xdata()) for line in axes[2].lines} == {16}  # the layers of D
    plt.close("all")


def test_figures_of_nothing_say_so(tmp_path, column):
    for figure in (page.losses([]), page.signals([])):
        assert "not run" in texts(figure.axes[0])
    drawn = page.trainings(column).axes
    assert texts(drawn[0]) == ["not run"]
    labels = drawn[1].get_legend_handles_labels()[1]
    assert labels == ["normal of variance 0.01: diverged", "Glorot"]
    plt.close("all")


# --- the chapter ------------------------------------------------------------------------------


def test_the_code_that_readers_copy_measures_a_net_of_torchvision(capsys):
    text = re.sub(r"^# ?", "", CHAPTER.read_text(encoding="utf-8"), flags=re.MULTILINE)
    code = next(block for block in text.split("```")[1::2] if "measure(" in block)
    torch.manual_seed(0)
    mine = {
        "model": vgg11(num_classes=4, init_weights=False),
        "images": torch.randn((1, 3, 32, 32)),
        "targets": torch.tensor([1]),
        "learning_rate": 0.01,
    }
    exec(code.removeprefix("python\n"), mine)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(layer_names("A"))
    assert all(float(number) > 0 for line in lines for number in line.split()[1:])


def test_the_chapter_names_starts_that_there_are():
    named = re.findall(r'"([ADE]-[\w-]+)"', CHAPTER.read_text(encoding="utf-8"))
    known = {*DECLARED, *report.RUNS}
    assert named
    assert set(named) <= known
