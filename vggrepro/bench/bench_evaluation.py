"""Testing: many images and crops in one batch against one image at a time (Section 3.2)."""

from collections.abc import Callable

from torchvision.datasets import ImageFolder

from vggrepro import trainer
from vggrepro.bench import bench_torchvision
from vggrepro.bench.bench_data import Photos, Plan, spread
from vggrepro.bench.turns import Contestant, Turn, fitted, take_turns
from vggrepro.data import ImageSet
from vggrepro.device import Machine
from vggrepro.evaluators import evaluate
from vggrepro.models import initialise
from vggrepro.study.experiments import several_scales
from vggrepro.study.records import Measured
from vggrepro.windows import scaled

RUN = "D-jitter"  # the net of Tables 4 and 5: three Q far apart
PROTOCOLS = ("dense", "multi-crop")
FIRST = 32  # images of the first trial: fewer would not fill a batch


def evaluation(
    photos: Photos, sets: trainer.Sets, val: ImageSet, machine: Machine, plan: Plan
) -> list[Measured]:
    """Images per second under dense evaluation and with 150 crops, both at three Q with flips.

    Ours is `evaluators.evaluate` on as many images as a turn has room for, the other side takes
    one photo after the other from its file, as in `bench_torchvision`.
    """
    experiment = photos.experiment(RUN)
    ours = trainer.build(experiment, len(val.classes))
    initialise(ours, "he", seed=0)
    plain = bench_torchvision.PlainVGG(experiment, len(val.classes))
    plain.load_state_dict(ours.state_dict())
    plain.to(machine.device).eval()
    ours.to(machine.device)
    inputs, scales = sets.inputs(experiment, machine), several_scales(experiment)
    mean = tuple(float(value) for value in sets.pixels.mean)
    to_input = bench_torchvision.normalised(mean, experiment.input_divisor)
    pixels = tuple(scaled(scale, experiment.crop) for scale in scales)
    files = ImageFolder(str(photos.folder("val")))
    whole, device = plain.fully_convolutional(), machine.device
    of_one = {
        "dense": lambda image: bench_torchvision.dense(whole, image, pixels, to_input, device),
        "multi-crop": lambda image: bench_torchvision.crops(
            plain, image, pixels, experiment.crop, to_input, device
        ),
    }

    def batched(protocol: str) -> Callable[[int], Turn]:
        def make(count: int) -> Turn:
            some = spread(val, count)

            def turn() -> None:
                for scale in scales:
                    evaluate(ours, some, protocol, scale, inputs, machine)

            return turn

        return make

    def one_by_one(protocol: str) -> Callable[[int], Turn]:
        def make(count: int) -> Turn:
            chosen = [i * len(files) // count for i in range(count)]

            def turn() -> None:
                for i in chosen:
                    of_one[protocol](files[i][0])

            return turn

        return make

    measured = []
    for protocol in PROTOCOLS:
        turn, images = fitted(batched(protocol), plan.seconds, first=FIRST, most=len(val))
        contestants = [Contestant("vggrepro", turn, min(images, len(val)))]
        turn, images = fitted(one_by_one(protocol), plan.seconds, most=len(files))
        contestants.append(Contestant("one at a time", turn, images))
        rates = take_turns(contestants, plan.rounds_at_full_width)
        measured += [
            Measured(
                name="testing",
                unit="images/s",
                of={"side": side, "protocol": protocol},
                values=found,
            )
            for side, found in rates.items()
        ]
    return measured
