"""Mage imports scikit-learn, and with it SciPy's statistics, when it shows a model of theirs.

Each of its processes imported both as it began, to have one function: a quarter of the CPU that
importing Mage takes.
"""

from mage_dbt.mage.patches.edit import Edit, Patch

EDIT = Edit(
    "from sklearn.utils import estimator_html_repr\n",
    "def estimator_html_repr(estimator):\n"
    "    from sklearn.utils import estimator_html_repr as shown\n\n"
    "    return shown(estimator)\n\n\n",
)

PATCHES = (
    Patch(
        "data_preparation/models/utils.py",
        "964482912bc36e2bc2fea03eca9b396612bf6638b96a8d2baf17826b300ce134",
        (EDIT,),
    ),
    Patch(
        "data_preparation/models/block/outputs.py",
        "c97ee17b12feabe819b33c3d90ab141abd60484f73f1635943594c6f1df7de0d",
        (EDIT,),
    ),
)
