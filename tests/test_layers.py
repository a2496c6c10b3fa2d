"""Pooling without gradients against PyTorch's; LRN is tested with the nets."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from vggrepro.models import MaxPool

SIZES = st.integers(2, 9)


@given(
    n=st.integers(1, 3),
    channels=st.integers(1, 5),
    height=SIZES,
    width=SIZES,
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    layout=st.sampled_from([torch.channels_last, torch.contiguous_format]),
    seed=st.integers(0, 9),
)
def test_the_same_maxima_as_pytorch(n, channels, height, width, dtype, layout, seed):
    generator = torch.Generator().manual_seed(seed)
    # Few different values, so that there are ties.
    images = torch.randint(-3, 3, (n, channels, height, width), generator=generator)
    images = images.to(dtype).to(memory_format=layout)
    expected = F.max_pool2d(images, 2)
    with torch.inference_mode():
        found = MaxPool()(images)
    assert torch.equal(found, expected)
    assert found.dtype == dtype
    if layout == torch.channels_last:
        assert found.is_contiguous(memory_format=torch.channels_last)


def test_not_a_number_stays_one():
    images = torch.zeros(1, 1, 2, 4).to(memory_format=torch.channels_last)
    images[0, 0, 1, 1] = torch.nan
    with torch.inference_mode():
        found = MaxPool()(images).flatten().tolist()
    assert found == [pytest.approx(float("nan"), nan_ok=True), 0.0]


def test_gradients_go_where_pytorchs_go():
    images = torch.randint(-2, 2, (2, 3, 6, 4)).float().to(memory_format=torch.channels_last)
    gradients = []
    for pool in (MaxPool(), torch.nn.MaxPool2d(2)):
        x = images.clone().requires_grad_()
        pool(x).square().sum().backward()
        gradients.append(x.grad)
    assert torch.equal(*gradients)


def test_the_meta_device_has_shapes():
    assert MaxPool()(torch.empty(1, 2, 8, 8, device="meta")).shape == (1, 2, 4, 4)
