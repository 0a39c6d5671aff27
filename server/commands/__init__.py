"""Commands that change users and API keys, in a running server or in its database."""
