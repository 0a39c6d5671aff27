"""What outlives a call: the database, and the ways into it and out of it."""
