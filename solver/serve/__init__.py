"""The engine over HTTP, and the page at its root. Needs the extra `serve`; nothing else of the project needs this."""
