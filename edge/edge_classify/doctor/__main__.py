"""`python -m edge_classify.doctor` is `edge-doctor`."""

import sys

from .cli import main

sys.exit(main())
