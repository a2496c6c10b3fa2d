"""`python -m vggrepro`, which is what `torchrun -m vggrepro` starts once per device."""

from vggrepro.cli import main

if __name__ == "__main__":
    main()
