"""Entry point of every process in which dbt runs; only here dbt is imported.

    python -P -m mage_dbt.dbt.process run FOLDER           a cold worker, for one job
    python -P -m mage_dbt.dbt.process fork-server COMMIT   parses a commit and forks workers
    python -P -m mage_dbt.dbt.process ended FOLDER         ends what a run left in the warehouse
    python -P -m mage_dbt.dbt.process zygote NAME          imports dbt and forks the last two

The runner speaks through standard input and output, in JSON. dbt's own output goes to standard
error, and events to a file. Secrets are taken out of all of it.
"""

from __future__ import annotations

import os
import sys

from mage_dbt.dbt import unfit


def main(arguments: list[str]) -> None:
    """Does what the arguments say (see above)."""
    kind, name = arguments[:2]
    answer = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever prints to standard output must not break the protocol
    try:
        # Imported here: these modules import parts of dbt that another version may lack.
        from mage_dbt.dbt import begin

        begin.protect()
    except (ImportError, AttributeError) as error:
        lacks = unfit.lack(error)
        if not lacks:
            raise
        answer.write(unfit.answer(kind, lacks))
        sys.exit(unfit.sentence(lacks))
    if kind == "zygote":
        answer.close()
        begin.serve_zygote(name)
    else:
        begin.run_kind(arguments, answer)


if __name__ == "__main__":
    main(sys.argv[1:])
