"""``python -m slowfast_ac`` is ``slowfast-ac``."""

import sys

from slowfast_ac.cli import main

if __name__ == "__main__":
    sys.exit(main())
