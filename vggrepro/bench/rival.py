"""The other side of `vggrepro bench`: the same work as it is usually written with torchvision.

`ImageFolder`, `transforms`, a `DataLoader` with two workers, float32, the default layout of
tensors, the layers in the usual order (convolution, ReLU, pool). Nothing here is slowed down on
purpose, and nothing that a tutorial would not say is added.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.models.vgg import make_layers
from torchvision.transforms.functional import crop, hflip

from vggrepro.bench.turns import Side
from vggrepro.configs import blocks, map_side
from vggrepro.study.experiments import Experiment, single_scale
from vggrepro.windows import grid_windows, scaled

WORKERS = 2
REST_SECONDS = 1.0  # two workers make the four batches that they may hold in less


def as_pytorch_has_it() -> AbstractContextManager:
    """cuDNN as it is unless somebody says otherwise: TF32 in convolutions, any algorithm."""
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=False)


class PlainVGG(nn.Module):
    """A net of 3x3 convolutions as torchvision builds it; its state dict is that of `models.VGG`.

    Not torchvision's class, whose hidden layers have 4096 units.
    """

    def __init__(self, experiment: Experiment, classes: int) -> None:
        super().__init__()
        e = experiment
        channels = [[*(c.channels for c in block), "M"] for block in blocks(e.config, e.width)]
        self.features = make_layers(list(chain.from_iterable(channels)))
        self.map_side, last = map_side(e.crop), channels[-1][-2]
        self.classifier = nn.Sequential(
            nn.Linear(last * self.map_side**2, e.hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(e.dropout),
            nn.Linear(e.hidden, e.hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(e.dropout),
            nn.Linear(e.hidden, classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, 3, crop, crop)."""
        return self.classifier(torch.flatten(self.features(images), 1))

    def fully_convolutional(self) -> nn.Sequential:
        """The net for whole images (Section 3.2), in eval mode: maps (N, classes, h, w)."""
        kernel, convs = self.map_side, []
        for linear in self.classifier[::3]:
            channels = linear.in_features // kernel**2
            conv = nn.Conv2d(channels, linear.out_features, kernel).to(linear.weight.device)
            conv.weight.data = linear.weight.data.view_as(conv.weight)
            conv.bias.data = linear.bias.data
            convs += [conv, nn.ReLU(inplace=True)]
            kernel = 1
        return nn.Sequential(self.features, *convs[:-1]).eval()


def normalised(mean: Iterable[float], input_divisor: float) -> transforms.Compose:
    """PIL image to input: (pixel - mean RGB) / divisor, pixels 0 to 255."""
    deviation = [input_divisor / 255] * 3
    to_unit = [float(value) / 255 for value in mean]
    return transforms.Compose([transforms.ToTensor(), transforms.Normalize(to_unit, deviation)])


class Training(Side):
    """Training on a folder of photos: batches come from a `DataLoader`, an epoch after the other.

    `folder` holds class folders, `model` is trained in place on `device`.
    """

    name = "torchvision"

    def __init__(
        self,
        model: PlainVGG,
        experiment: Experiment,
        folder: Path,
        mean: Iterable[float],
        device: torch.device,
    ) -> None:
        e = experiment
        steps = [
            transforms.Resize(scaled(single_scale(e), e.crop)),
            transforms.RandomCrop(e.crop),
            transforms.RandomHorizontalFlip(),
            normalised(mean, e.input_divisor),
        ]
        # Workers that persist are to their advantage: an epoch need not start new ones.
        self.loader = DataLoader(
            ImageFolder(str(folder), transforms.Compose(steps)),
            batch_size=e.batch_size,
            shuffle=True,
            drop_last=True,  # an epoch's last batch may be smaller: it would blur the rate
            num_workers=WORKERS,
            persistent_workers=True,
        )
        self.amount = e.batch_size
        self.model, self.device = model.to(device).train(), device
        self.optimizer = torch.optim.SGD(
            model.parameters(), e.learning_rate, e.momentum, weight_decay=e.weight_decay
        )
        self.criterion = nn.CrossEntropyLoss()
        self._stream = chain.from_iterable(repeat(self.loader))

    def run(self, times: int) -> None:
        """So many steps, each on the next batch."""
        with as_pytorch_has_it():
            for _ in range(times):
                images, targets = (part.to(self.device) for part in next(self._stream))
                self.optimizer.zero_grad()
                loss = self.criterion(self.model(images), targets)
                loss.backward()
                self.optimizer.step()

    def settle(self) -> None:
        """Bring the workers to where they are in the middle of an epoch.

        While others had their turns the workers went on to make all the batches that they may
        hold. Those are thrown away, and one step is made, in which they work as they do then.
        """
        for _ in range(WORKERS * self.loader.prefetch_factor):
            next(self._stream)
        self.run(1)

    def rest(self) -> None:
        """Wait until the workers hold all the batches they may, and leave the processor alone."""
        time.sleep(REST_SECONDS)

    def close(self) -> None:
        """End the workers."""
        self._stream = self.loader._iterator = None


# --- testing --------------------------------------------------------------------------------


class Testing(Side):
    """Testing on a folder of photos, one after the other, each read from its file.

    `posterior` is `dense` or `crops` of `OneByOne`.
    """

    name, amount = "one at a time", 1

    def __init__(self, folder: Path, posterior: Callable[[Image.Image], Tensor]) -> None:
        self.files, self.posterior = ImageFolder(str(folder)), posterior
        self.most = len(self.files)

    def run(self, times: int) -> None:
        """So many photos, evenly spread over the folder and its classes."""
        with as_pytorch_has_it():
            for i in range(times):
                self.posterior(self.files[i * self.most // times][0])


@dataclass
class OneByOne:
    """Posteriors (classes,) of one image after the other at each scale (px), as one mean."""

    net: PlainVGG
    scales: Sequence[int]
    side: int
    """Of a crop, px."""
    to_input: transforms.Compose
    device: torch.device

    def __post_init__(self) -> None:
        self.whole = self.net.fully_convolutional()

    @torch.inference_mode()
    def dense(self, image: Image.Image) -> Tensor:
        """By dense evaluation, with the image's flip."""
        posteriors = []
        for scale in self.scales:
            x = self.to_input(transforms.Resize(scale)(image))[None].to(self.device)
            for view in (x, x.flip(-1)):
                posteriors.append(self.whole(view).mean((-2, -1)).softmax(-1)[0])
        return torch.stack(posteriors).mean(0)

    @torch.inference_mode()
    def crops(self, image: Image.Image) -> Tensor:
        """From 50 crops at each scale: 5x5 and their mirror images."""
        posteriors = []
        for scale in self.scales:
            resized, size = transforms.Resize(scale)(image), (image.height, image.width)
            windows = grid_windows(size, scale, self.side)
            patches = [crop(resized, w.top, w.left, self.side, self.side) for w in windows]
            patches += [hflip(patch) for patch in patches]
            x = torch.stack([self.to_input(patch) for patch in patches]).to(self.device)
            posteriors.append(self.net(x).softmax(-1))
        return torch.cat(posteriors).mean(0)
