"""The other side of `vggrepro bench`: the same work as it is usually written with torchvision.

`ImageFolder`, `transforms`, a `DataLoader` with two workers, float32, the default layout of
tensors, the layers in the usual order (convolution, ReLU, pool). Nothing here is slowed down on
purpose, and nothing that a tutorial would not say is added.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.transforms.functional import crop, hflip

from vggrepro.bench.turns import Side
from vggrepro.configs import blocks, map_side
from vggrepro.study.experiments import Experiment, single_scale
from vggrepro.windows import grid_windows, scaled

WORKERS = 2
REST_SECONDS = 1.0  # two workers make the four batches that they may hold in less


class PlainVGG(nn.Module):
    """A net of Table 1 as torchvision builds it; its state dict is that of `models.VGG`."""

    def __init__(self, experiment: Experiment, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for block in blocks(experiment.config, experiment.width):
            for conv in block:
                size = conv.kernel
                layers += [nn.Conv2d(channels, conv.channels, size, padding=size // 2)]
                layers += [nn.ReLU(inplace=True)]
                channels = conv.channels
            layers += [nn.MaxPool2d(kernel_size=2, stride=2)]
        self.map_side = map_side(experiment.crop)
        self.features = nn.Sequential(*layers)
        units = [channels * self.map_side**2, experiment.hidden, experiment.hidden]
        layers = []
        for before, after in pairwise(units):
            layers += [nn.Linear(before, after), nn.ReLU(inplace=True)]
            layers += [nn.Dropout(experiment.dropout)]
        self.classifier = nn.Sequential(*layers, nn.Linear(units[-1], classes))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, 3, crop, crop)."""
        return self.classifier(torch.flatten(self.features(images), 1))

    def fully_convolutional(self) -> nn.Sequential:
        """The net for whole images (Section 3.2), in eval mode: maps (N, classes, h, w)."""
        kernel, convs = self.map_side, []
        for linear in (m for m in self.classifier if isinstance(m, nn.Linear)):
            channels = linear.in_features // kernel**2
            conv = nn.Conv2d(channels, linear.out_features, kernel).to(linear.weight.device)
            conv.weight.data = linear.weight.data.view_as(conv.weight)
            conv.bias.data = linear.bias.data
            convs += [conv, nn.ReLU(inplace=True)]
            kernel = 1
        return nn.Sequential(self.features, *convs[:-1]).eval()


def normalised(mean: tuple[float, ...], input_divisor: float) -> transforms.Compose:
    """PIL image to input: (pixel - mean RGB) / divisor, pixels 0 to 255."""
    deviation = [input_divisor / 255] * 3
    to_unit = [value / 255 for value in mean]
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
        mean: tuple[float, ...],
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
            num_workers=WORKERS,
            persistent_workers=True,
        )
        self.amount = e.batch_size
        self.model, self.device = model.to(device).train(), device
        self.optimizer = torch.optim.SGD(
            model.parameters(),
            lr=e.learning_rate,
            momentum=e.momentum,
            weight_decay=e.weight_decay,
        )
        self.criterion = nn.CrossEntropyLoss()
        self._stream = self._batches()

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            for images, targets in self.loader:
                # Only an epoch's last batch is smaller; it would blur the rate of the others.
                if len(targets) == min(self.loader.batch_size, len(self.loader.dataset)):
                    yield images, targets

    def run(self, times: int) -> None:
        """So many steps, each on the next batch."""
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
        self._stream.close()
        self.loader._iterator = None


# --- testing --------------------------------------------------------------------------------


class Testing(Side):
    """Testing on a folder of photos, one after the other, each read from its file.

    `posterior` is `dense` or `crops` with all but the image given.
    """

    name, amount = "one at a time", 1

    def __init__(self, folder: Path, posterior: Callable[[Image.Image], Tensor]) -> None:
        self.files, self.posterior = ImageFolder(str(folder)), posterior
        self.most = len(self.files)

    def run(self, times: int) -> None:
        """So many photos, evenly spread over the folder and its classes."""
        for i in range(times):
            self.posterior(self.files[i * self.most // times][0])


@torch.inference_mode()
def dense(
    net: nn.Module,
    image: Image.Image,
    scales: Sequence[int],
    to_input: transforms.Compose,
    device: torch.device,
) -> Tensor:
    """Posterior (classes,) of one image by dense evaluation at each scale (px), with its flip."""
    posteriors = []
    for scale in scales:
        x = to_input(transforms.Resize(scale)(image))[None].to(device)
        for view in (x, x.flip(-1)):
            posteriors.append(net(view).mean((-2, -1)).softmax(-1)[0])
    return torch.stack(posteriors).mean(0)


@torch.inference_mode()
def crops(
    net: nn.Module,
    image: Image.Image,
    scales: Sequence[int],
    side: int,
    to_input: transforms.Compose,
    device: torch.device,
) -> Tensor:
    """Posterior (classes,) of one image from 50 crops (5x5 and mirror images) at each scale."""
    posteriors = []
    for scale in scales:
        resized, size = transforms.Resize(scale)(image), (image.height, image.width)
        windows = grid_windows(size, scale, side)
        patches = [crop(resized, window.top, window.left, side, side) for window in windows]
        patches += [hflip(patch) for patch in patches]
        x = torch.stack([to_input(patch) for patch in patches]).to(device)
        posteriors.append(net(x).softmax(-1))
    return torch.cat(posteriors).mean(0)
