"""The REST APIs: one dialect a file, each a view of the same live sessions."""
