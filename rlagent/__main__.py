"""`python -m rlagent` is `rlagent`."""

import sys

from rlagent.cli import main

if __name__ == "__main__":
    sys.exit(main())
