"""``python -m vidcore``, which ``torchrun -m vidcore`` requires."""

from vidcore.cli import main

main()
