"""The paper's numbers against tables typed a second time, from the text and by eye."""

import re
import subprocess
import sys

import pytest

from vggrepro import UserError
from vggrepro.study import paper

# S, Q, top-1 and top-5 validation error: Tables 3 and 4 as printed.
TABLE_3 = """
A      256        256  29.6  10.4
A-LRN  256        256  29.7  10.5
B      256        256  28.7   9.9
C      256        256  28.1   9.4
C      384        384  28.1   9.3
C      [256;512]  384  27.3   8.8
D      256        256  27.0   8.8
D      384        384  26.8   8.7
D      [256;512]  384  25.6   8.1
E      256        256  27.3   9.0
E      384        384  26.9   8.7
E      [256;512]  384  25.5   8.0
"""
TABLE_4 = """
B  256        224,256,288  28.2  9.6
C  256        224,256,288  27.7  9.2
C  384        352,384,416  27.8  9.2
C  [256;512]  256,384,512  26.3  8.2
D  256        224,256,288  26.6  8.6
D  384        352,384,416  26.5  8.6
D  [256;512]  256,384,512  24.8  7.5
E  256        224,256,288  26.9  8.7
E  384        352,384,416  26.7  8.6
E  [256;512]  256,384,512  24.8  7.5
"""


@pytest.mark.parametrize(("number", "printed"), [(3, TABLE_3), (4, TABLE_4)])
def test_tables_3_and_4_line_by_line(number, printed):
    expected = []
    for row, line in enumerate(printed.strip().splitlines(), start=1):
        net, train_scale, test_scales, top1, top5 = line.split()
        for metric, error in (("top1_error", top1), ("top5_error", top5)):
            key = (number, row, net, train_scale, test_scales, "dense", metric, "val")
            expected.append(paper.Row(*key, float(error)))
    assert paper.table(number) == expected


@pytest.mark.parametrize(
    ("expected", "number", "where"),
    [
        (29.6, 3, {"net": "A"}),
        (25.5, 3, {"net": "E", "train_scale": "[256;512]"}),
        (28.2, 4, {"net": "B", "test_scales": (224, 256, 288)}),
        (26.5, 4, {"net": "D", "train_scale": 384}),
        (24.6, 5, {"net": "D", "protocol": "multi-crop"}),
        (7.1, 5, {"net": "E", "protocol": "multi-crop & dense", "metric": "top5_error"}),
        (23.7, 6, {"protocol": "multi-crop & dense"}),
        (7.9, 7, {"net": "GoogLeNet (Szegedy et al., 2014) (1 net)", "metric": "top5_error",
                  "split": "val&test (one merged cell)"}),
        (40.7, 7, {"net": "Krizhevsky et al. (Krizhevsky et al., 2012) (1 net)"}),
        (25.3, 10, {"net": "VGG", "metric": "top5_loc_error", "split": "test"}),
        (84.0, 12, {"protocol": "image and bounding box", "metric": "mAP",
                    "split": "VOC-2012 action classification"}),
    ],
)  # fmt: skip
def test_spot_values(expected, number, where):
    assert paper.value(number, **where) == expected


def test_table_sizes():
    # Tables 2 to 12, counted row by row in the print; "-" is no number, "a ± b" is two.
    table_7 = 3 + 3 + 3 + 1 + 1 + 1 + 3 + 1 + 1 + 3 + 3 + 3 + 2 + 3 + 2
    table_11 = 5 + 6 + 3 + 4 + 3 * 6
    sizes = [6, 2 * 12, 2 * 10, 2 * 6, 3 + 3 + 2 + 3, table_7, 3, 6, 6, table_11, 5]
    assert [len(paper.table(number)) for number in range(2, 13)] == sizes


def test_table_1_agrees_with_the_depths_in_its_head():
    weight_layers = {
        net: sum(layer.startswith(("conv", "FC")) for layer in layers)
        for net, layers in paper.TABLE_1.items()
    }
    assert weight_layers == {"A": 11, "A-LRN": 11, "B": 13, "C": 16, "D": 16, "E": 19}
    assert all(layers.count("maxpool") == 5 for layers in paper.TABLE_1.values())


def test_table_1_has_the_parameters_of_table_2():
    for net, layers in paper.TABLE_1.items():
        channels, parameters = 3, 0
        for layer in layers:
            if found := re.fullmatch(r"conv(\d)-(\d+)", layer):
                kernel, width = map(int, found.groups())
                parameters += (kernel * kernel * channels + 1) * width
                channels = width
            elif layer == layers[-4]:
                parameters += (7 * 7 * 512 + 1) * 4096 + (4096 + 1) * 4096 + (4096 + 1) * 1000
                break
        assert round(parameters / 1e6) == paper.parameters_millions(net)


def test_value_refuses_what_is_not_exactly_one_number():
    with pytest.raises(UserError, match=r"3 numbers .* Choose train_scale: '256', '384'"):
        paper.value(3, net="D")
    with pytest.raises(UserError, match=r"Table 3 has 0 numbers .*net='F'.*'A-LRN'"):
        paper.value(3, net="F")
    with pytest.raises(UserError, match="no Table 1 of numbers"):
        paper.table(1)


def test_quotes():
    assert "does not improve on the model A" in paper.quote("lrn").text
    assert paper.quote("seven-by-seven").section == "2.3"
    with pytest.raises(UserError, match="unknown quote 'lnr'; choose one of: lrn-costs"):
        paper.quote("lnr")


def test_import_is_light():
    code = (
        "import vggrepro.study.paper, sys; print(*{'torch', 'numpy', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
