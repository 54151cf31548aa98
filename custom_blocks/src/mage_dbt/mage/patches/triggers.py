"""Triggers: who made one, what of ours cannot change, when one is used up, and its hidden token."""

from mage_dbt.mage.patches.edit import Edit, Patch

CHUNKS = "server/frontend_dist/_next/static/chunks"


def _one_at_a_time(an_import: str, *functions: str) -> tuple[Edit, ...]:
    """Mage keeps a trigger in its database and in a file. A change writes one, then the other; the
    scheduler copies the file into the database. Between the two it undid the change, and the change
    could then be lost. `functions` begin with their indentation.
    """
    decorated = (
        Edit(
            function, " " * (len(function) - len(function.lstrip())) + "@one_at_a_time\n" + function
        )
        for function in functions
    )
    imported = "from mage_dbt.mage.triggers import one_at_a_time\n"
    return (Edit(an_import, an_import + imported), *decorated)


PATCHES = (
    Patch(
        "orchestration/pipeline_scheduler_original.py",
        "aa268ca17c8df84f4e5009d21451408525a8b3cd988ce7380424aae9add3a087",
        _one_at_a_time(
            "from mage_ai.shared.retry import retry\n",
            "def sync_schedules(",
        ),
    ),
    Patch(
        "orchestration/db/models/schedules.py",
        "8af9d9faebb6f65565173a3035c8ceb57ead7f3de66b419200756d1bc7aa6b83",
        (
            # HIDE_API_TRIGGER_TOKEN hides the token in answers about triggers, but not in answers
            # about their runs.
            Edit(
                "        return self.pipeline_schedule.token\n",
                "        return '[API_TOKEN_PLACEHOLDER]'\n",
            ),
            # A block knows its trigger by a name that anybody can use. See mage/pipeline_run.py.
            Edit(
                "        variables.update(extra_variables)\n\n        return variables\n",
                "        variables.update(extra_variables)\n"
                "        from mage_dbt.mage.pipeline_run import add_cause\n"
                "        add_cause(self, variables)\n\n        return variables\n",
            ),
        ),
    ),
    Patch(
        "api/resources/PipelineScheduleResource.py",
        "7990469db8c935f4120eedccb1110b26f2597ab5f1c5413158c6efcce48365cf",
        (
            *_one_at_a_time(
                "from mage_ai.shared.hash import ignore_keys, merge_dict\n",
                "    @safe_db_query\n    def update(",
                "    @safe_db_query\n    def delete(",
            ),
            # Mage does not keep who makes a trigger, and refuses one without a name.
            Edit(
                "        pipeline = kwargs['parent_model']\n"
                "        payload['pipeline_uuid'] = pipeline.uuid\n",
                "        pipeline = kwargs['parent_model']\n"
                "        payload['pipeline_uuid'] = pipeline.uuid\n"
                "        from mage_dbt.mage import triggers\n"
                "        payload = triggers.completed(payload, user)\n",
            ),
            # Mage saved changes that the workspace overwrote within a minute.
            Edit(
                "        # Update associated event matchers\n",
                "        from mage_dbt.mage import triggers\n"
                "        triggers.refuse_change(self.model, payload)\n"
                "        # Update associated event matchers\n",
            ),
            Edit(
                "        remove_trigger(self.model.name, self.model.pipeline_uuid)\n",
                "        from mage_dbt.mage import triggers\n"
                "        triggers.refuse_removal(self.model)\n"
                "        remove_trigger(self.model.name, self.model.pipeline_uuid)\n",
            ),
            # Each Run@once left a trigger in the list for ever.
            Edit(
                "        query = query.options(joinedload(PipelineSchedule.event_matchers))\n",
                "        from mage_dbt.mage import triggers\n"
                "        query = query.filter(triggers.not_used_up(PipelineSchedule))\n"
                "        query = query.options(joinedload(PipelineSchedule.event_matchers))\n",
            ),
        ),
    ),
    # "Save trigger in code" writes a trigger over the one of that name in the pipeline's file.
    Patch(
        "api/resources/PipelineTriggerResource.py",
        "210f9bfd85ccbed67286abb1e95410e212488adc646c74bdf5df3c7cafedb98f",
        (
            *_one_at_a_time(
                "from mage_ai.settings.server import HIDE_API_TRIGGER_TOKEN\n",
                "    @safe_db_query\n    def create(",
            ),
            Edit(
                "        if not trigger:\n",
                "        from mage_dbt.mage import triggers\n"
                "        triggers.refuse_our_name(parent_model.uuid, {'name': trigger.name})\n"
                "        if not trigger:\n",
            ),
        ),
    ),
    # The page of all pipelines counts used-up triggers.
    Patch(
        "api/resources/PipelineResource.py",
        "58e2de0dde392c11a6601f3f285919d25a9c5d41a63dfabe373075715733d9d3",
        (
            *_one_at_a_time(
                "from mage_ai.orchestration.db import safe_db_query\n",
                "        @safe_db_query\n        def update_schedule_status(",
            ),
            Edit(
                "    a = aliased(PipelineSchedule, name='a')\n    result = (\n",
                "    a = aliased(PipelineSchedule, name='a')\n"
                "    from mage_dbt.mage import triggers\n"
                "    result = (\n",
            ),
            Edit(
                "            a.pipeline_uuid.in_(pipeline_uuids),\n            or_(\n",
                "            a.pipeline_uuid.in_(pipeline_uuids),\n"
                "            triggers.not_used_up(a),\n"
                "            or_(\n",
            ),
        ),
    ),
    # Run@once sent a random name of two words, which was then shown as the caller.
    Patch(
        f"{CHUNKS}/pages/pipelines/[pipeline]/triggers-193045d9836d8d80.js",
        "82b9b7e85cef2852be12978f14b83df6661c6ab4ae5ef5fca69b407eae4f62af",
        (
            Edit(
                "{name:(0,D.Y6)(),variables:p?(0,B.e7)(U(U({},v),a?(0,o.Z)({},b.PN,a):{})):null}",
                '{name:"",variables:p?(0,B.e7)(U(U({},v),a?(0,o.Z)({},b.PN,a):{}),l):null}',
            ),
        ),
    ),
    Patch(
        f"{CHUNKS}/2717-638a944d24d5abde.js",
        "8013745d55fed10875e3892cef0f106722998d8884b09aa7fdbff1a90f920f17",
        (
            # The page read each typed value as JSON: the commit 535e545 became null, 9978e07
            # another number. Now a text stays a text, and so does a number that JSON changes.
            Edit(
                "function h(e){return e?Object.entries(e).reduce((function(e,n){"
                "var t=(0,r.Z)(n,2),l=t[0],o=t[1],u=o;try{u=JSON.parse(o)}catch(e){}",
                "function h(e,given){"
                "Array.isArray(given)&&(given=Object.fromEntries(given.map((function(v){"
                "return[v.uuid,v.value]}))));"
                'function isText(v){if("string"!=typeof v)return!1;'
                "try{return JSON.parse(v),!1}catch(e){return!0}}"
                "return e?Object.entries(e).reduce((function(e,n){"
                "var t=(0,r.Z)(n,2),l=t[0],o=t[1],u=o;"
                "try{given&&isText(given[l])||(u=JSON.parse(o)),"
                '"number"==typeof u&&String(u)!==String(o).trim()&&(u=o)}catch(e){}',
            ),
            Edit(
                "variables:(0,Ne.e7)(Be(Be({},Ge),Q?(0,i.Z)({},oe.PN,Q):{}))",
                "variables:(0,Ne.e7)(Be(Be({},Ge),Q?(0,i.Z)({},oe.PN,Q):{}),yn)",
            ),
            # Where a trigger had false, its page showed and saved the pipeline's own value.
            Edit("(0,i.Z)({},t,Gn[t]||r)", "(0,i.Z)({},t,null==Gn[t]?r:Gn[t])"),
            # The form required a name, which is filled in now.
            Edit("danger:!(null!=p&&p.name)", "danger:!1"),
            Edit(
                '(null==p?void 0:p.name)||"This is required"',
                '(null==p?void 0:p.name)||"Filled in for you"',
            ),
            Edit('placeholder:"Name this trigger"', 'placeholder:"Filled in for you when empty"'),
        ),
    ),
)
