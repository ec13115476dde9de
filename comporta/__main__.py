"""`python -m comporta`."""

from comporta.cli import main

if __name__ == "__main__":
    main()
