"""The synchronous client is the one that the asynchronous one gives."""

from tools.sync_client import SOURCE, TARGET, sync_source


def test_the_synchronous_client_is_up_to_date():
    written = sync_source(SOURCE.read_text(encoding="utf-8"))
    assert TARGET.read_text(encoding="utf-8") == written, "run: python -m tools.sync_client"
    assert "await" not in written
