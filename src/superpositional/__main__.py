"""``python -m superpositional`` is the console script."""

from superpositional.cli import main

if __name__ == "__main__":
    main()
