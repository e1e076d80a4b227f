"""``python -m flows.cli``: the command line."""

from flows.cli.app import main

if __name__ == "__main__":
    main()
