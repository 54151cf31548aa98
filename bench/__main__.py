"""What `./scripts/bench` runs, in dbt's environment: `python bench`."""

import sys

from mage_dbt_bench.main import main

sys.exit(main())
