"""`python -m streamvitals`."""

from .run.entry import main

if __name__ == "__main__":
    main()
