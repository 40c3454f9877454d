"""``python -m seg``: the command line, for torchrun and other launchers."""

from seg.cli.main import main

if __name__ == "__main__":
    main()
