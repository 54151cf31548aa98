"""SQLMesh: a plan that is applied at once, in a process that has it imported.

The model's file has changed, so the plan makes a new physical table, fills it, and promotes it: the
view that people query is made anew on it.
https://sqlmesh.readthedocs.io/en/stable/concepts/plans/
"""

from __future__ import annotations

from sqlmesh import Context

from mage_dbt_bench.peers.serve import Build, Task, serve


def prepare(task: Task) -> Build:
    context = Context(paths=[task.project])

    def build(everything: bool) -> None:
        context.load()
        context.plan(auto_apply=True, no_prompts=True, skip_tests=True)

    return build


if __name__ == "__main__":
    serve(prepare)
