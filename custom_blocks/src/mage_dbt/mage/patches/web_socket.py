"""A web socket belongs to the person who opened it."""

from mage_dbt.mage.patches.edit import Edit, Patch

PATCHES = (
    Patch(
        "server/websocket_server.py",
        "4063e9f98bbe553bcf976fbef0eb86a9033de43e93e7ba59fa268c082bd38f5a",
        (
            Edit(
                "logger = Logger().new_server_logger(__name__)\n",
                "from mage_dbt.mage.gateway import notebook_output\n"
                "from mage_dbt.mage.gateway import people as gateway_people\n\n"
                "logger = Logger().new_server_logger(__name__)\n",
            ),
            # Mage sent what a notebook prints to everybody who is connected, and to the log.
            Edit(
                "    running_executions_mapping = dict()\n",
                "    running_executions_mapping = notebook_output.Executions()\n",
            ),
            Edit(
                "            for client in cls.clients:\n",
                "            for client in notebook_output.receivers(\n"
                "                cls.clients, cls.running_executions_mapping, msg_id\n"
                "            ):\n",
            ),
            Edit(
                "f'{len(cls.clients)} client(s):\\n{json.dumps(message_final, indent=2)}'\n",
                "f'{len(cls.clients)} client(s)'\n",
            ),
            # Mage read who somebody is from a token in the message.
            Edit(
                "        message = json.loads(raw_message)\n\n"
                "        api_key = message.get('api_key')\n"
                "        token = message.get('token')\n",
                "        message = json.loads(raw_message)\n"
                "        notebook_output.set_sender(self)\n",
            ),
            Edit(
                "        if api_key and token:\n"
                "            oauth_client = Oauth2Application.query.filter(\n"
                "                Oauth2Application.client_id == api_key,\n"
                "            ).first()\n"
                "            if oauth_client:\n"
                "                oauth_token, _ = "
                "authenticate_client_and_token(oauth_client.id, token)\n"
                "                if oauth_token:\n"
                "                    user = oauth_token.user\n",
                "        user = gateway_people.user_of(self.request)\n",
            ),
            Edit(
                "        if REQUIRE_USER_AUTHENTICATION or DISABLE_NOTEBOOK_EDIT_ACCESS:\n"
                "            valid = not REQUIRE_USER_AUTHENTICATION\n",
                "        if DISABLE_NOTEBOOK_EDIT_ACCESS:\n            valid = True\n",
            ),
            # A variable tells the block who runs it.
            Edit(
                "        global_vars['env'] = ENV_DEV\n",
                "        global_vars['env'] = ENV_DEV\n"
                "        if user:\n"
                "            global_vars['asked_by'] = user.email\n",
            ),
        ),
    ),
)
