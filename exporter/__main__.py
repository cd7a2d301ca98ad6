"""`python -m exporter` is the same as `model-sidecar`."""

import sys

from exporter.entry import main

if __name__ == "__main__":
    sys.exit(main())
