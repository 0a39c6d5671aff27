"""Commands that change users and API keys, in a running server or in its database, and those for the database itself."""
