"""``python -m vidcore``, as ``torchrun -m vidcore`` needs it."""

from vidcore.cli import main

main()
