"""The door stands before Mage's web application, and Mage makes nobody by itself."""

from mage_dbt.mage.patches.edit import Edit, Patch

PATCHES = (
    Patch(
        "server/server.py",
        "62a481cd1c457703927a7ec52d030284e942e19b63739be1a6a1de3b2245277b",
        (
            # Every route is open to every page and everybody who reaches the port: the terminal,
            # the events, the API triggers, the sessions. See mage_dbt.mage.door.
            Edit(
                "    return tornado.web.Application(\n        updated_routes,\n",
                "    from mage_dbt.mage.door.application import Application as Door\n"
                "    return Door(\n        updated_routes,\n",
            ),
            # It makes an owner with the password admin. Roles are made at the first visit, when the
            # database is sure to have its tables.
            Edit("    logger.info('User authentication is enabled.')\n", "    return None\n"),
        ),
    ),
)
