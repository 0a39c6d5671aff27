"""Commands that change users and API keys, live or in the database, and those for the database itself."""
