"""`python tests/stopping.py STEP SIGNAL ARGUMENTS...`: vggrepro, which gets a signal on its way.

After STEP steps of gradient descent the process sends SIGNAL (`SIGINT`, `SIGSTOP`) to itself, so
that a test meets a training in the middle of an epoch and need not guess how fast it is. Under
torchrun only rank 1 does; "6,5" is 6 steps, and 5 when torchrun has started it again.
"""

import os
import signal
import sys

from torch.optim.optimizer import register_optimizer_step_post_hook

from vggrepro import cli


def main() -> None:
    step, name, *arguments = sys.argv[1:]
    life = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    steps_left = [int(step.split(",")[life])]

    def stop(*_):
        steps_left[0] -= 1
        if steps_left[0] == 0:
            os.kill(os.getpid(), signal.Signals[name])

    # What a shell starts in the background ignores Ctrl-C, and so would its children.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if os.environ.get("RANK", "1") == "1":
        register_optimizer_step_post_hook(stop)
    sys.argv = ["vggrepro", *arguments]
    cli.main()


if __name__ == "__main__":
    main()
