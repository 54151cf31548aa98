"""Mage shows a refusal of ours as its sentence."""

from mage_dbt.mage.patches.edit import Edit, Patch

PATCHES = (
    # A block's log had a traceback that names the server's folders.
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
                "            data['message'] = refusals.log_line(message, error)\n"
                "            method_name = refusals.log_method(method_name, error)\n"
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
    # So had an answer of the API, and the page offers to unfold it.
    Patch(
        "api/views.py",
        "9b3c3956504cfe8333b2d5caa0edaf67b001a97926b7aa85f3e250730304ca71",
        (
            Edit(
                "    except Exception as err:\n        __log_error(\n",
                "    except Exception as err:\n"
                "        from mage_dbt.mage import refusals\n"
                "        refused = refusals.api_error(err)\n"
                "        if refused:\n"
                "            return __render_error(\n"
                "                handler, refused, http_error_codes=http_error_codes, **tags\n"
                "            )\n"
                "        __log_error(\n",
            ),
        ),
    ),
)
