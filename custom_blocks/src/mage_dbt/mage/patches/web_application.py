"""The gateway stands before Mage's web application, and Mage makes no user by itself."""

from mage_dbt.mage.patches.edit import Edit, Patch

PATCHES = (
    Patch(
        "server/server.py",
        "62a481cd1c457703927a7ec52d030284e942e19b63739be1a6a1de3b2245277b",
        (
            # Mage opens every route to every page and to everybody who reaches the port: the
            # terminal, the events, the API triggers, the sessions.
            Edit(
                "    return tornado.web.Application(\n        updated_routes,\n",
                "    from mage_dbt.mage.gateway.application import Application as Gateway\n"
                "    return Gateway(\n        updated_routes,\n",
            ),
            # Mage makes an owner with the password admin. The gateway makes the roles at the first
            # visit, when the database is sure to have its tables.
            Edit("    logger.info('User authentication is enabled.')\n", "    return None\n"),
        ),
    ),
)
