"""`python -m edge_classify` is `edge-classify`."""

import sys

from .cli import main

sys.exit(main())
