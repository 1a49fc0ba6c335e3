"""`python -m streamvitals`."""

from .entry import main

if __name__ == "__main__":
    main()
