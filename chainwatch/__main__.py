"""`python -m chainwatch`."""

from chainwatch.entry import main

if __name__ == "__main__":
    main()
