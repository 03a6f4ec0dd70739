"""The studio: its launcher, and the built files of the page (sources in `webui/` of the repository)."""
