"""``python -m wsss_zoo`` is ``wsss-zoo``."""

import sys

from wsss_zoo.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
