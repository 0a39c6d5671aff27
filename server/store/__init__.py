"""The database: its tables, how it is opened and migrated, and all SQL of the server."""
