"""A refusal of ours is shown as its sentence."""

from mage_dbt.mage.patches.edit import Edit, Patch

PATCHES = (
    # The log of a block had a traceback with the server's folders.
    Patch(
        "data_preparation/logging/logger.py",
        "07e4f5f8736edd0e27cfe18c9e6f7f56bd0cac78ee0ac57976ccb8b3cf80f149",
        (
            Edit(
                "            data['error'] = traceback.format_exc()\n"
                "            data['error_stack'] = traceback.format_stack()\n"
                "            data['error_stacktrace'] = str(error)\n",
                "            from mage_dbt.mage import refusals\n"
                "            data.update(refusals.in_log(error))\n"
                "            data['message'] = refusals.message(message, error)\n"
                "            method_name = refusals.method(method_name, error)\n"
                "            data['level'] = log_level and data['level'] or method_name.upper()\n",
            ),
        ),
    ),
    Patch(
        "data_preparation/executors/block_executor.py",
        "fb9e7d2727aa199d47d896a0696b00ec3dc93510311931c4d0e77627d1a3f83e",
        (
            Edit(
                "                    errors = traceback.format_stack()\n"
                "                    error_details = dict(\n"
                "                        error=error,\n"
                "                        errors=errors,\n"
                "                        message=traceback.format_exc(),\n"
                "                    )\n",
                "                    from mage_dbt.mage import refusals\n"
                "                    error_details = refusals.of_block(\n"
                "                        error, self.block, self.execution_partition\n"
                "                    )\n"
                "                    errors = error_details['errors']\n",
            ),
        ),
    ),
    # An answer of the API had one too, which the page offers to unfold.
    Patch(
        "api/views.py",
        "9b3c3956504cfe8333b2d5caa0edaf67b001a97926b7aa85f3e250730304ca71",
        (
            Edit(
                "    except Exception as err:\n        __log_error(\n",
                "    except Exception as err:\n"
                "        from mage_dbt.mage import refusals\n"
                "        refused = refusals.answer(err)\n"
                "        if refused:\n"
                "            return __render_error(\n"
                "                handler, refused, http_error_codes=http_error_codes, **tags\n"
                "            )\n"
                "        __log_error(\n",
            ),
        ),
    ),
)
