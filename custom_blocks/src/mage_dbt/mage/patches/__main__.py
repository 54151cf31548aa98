"""`python -m mage_dbt.mage.patches` applies the patches and prints the files that it wrote."""

import sys

from mage_dbt.errors import WorkspaceError
from mage_dbt.mage import patches

try:
    for name in patches.apply():
        print(f"patched {name}")
except WorkspaceError as error:
    sys.exit(str(error))
