"""`python -m mage_dbt.tool`: the tool where its command is not installed."""

import sys

from mage_dbt.tool import main

sys.exit(main())
