"""What a command imports, and how."""

import subprocess
import sys


def run_python(code: str) -> list[str]:
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()  # fmt: skip


def test_only_the_chosen_command_is_imported():
    printed = run_python(
        "import sys; from kinema.cli import parse_command; parse_command(['generate', 'x']);"
        "names = sorted(name for name in sys.modules if name.startswith('kinema.cli.'));"
        "print(*names, 'torch' in sys.modules)"
    )
    assert printed == [
        f"kinema.cli.{name}" for name in ("generate", "options", "parse_errors", "threads")
    ] + ["False"]  # fmt: skip


def test_torch_is_imported_without_garbage_collections():
    printed = run_python(
        "import gc; from kinema.cli import parse_command;"
        "parse_command(['generate', 'x']).load_pipeline();"
        "print(gc.isenabled(), gc.get_freeze_count() > 100_000)"
    )
    assert printed == ["True", "True"]


def test_objects_of_a_running_process_are_not_frozen():
    printed = run_python(
        "import gc, torch; from kinema.cli import parse_command;"
        "parse_command(['generate', 'x']).load_pipeline(); print(gc.isenabled(), gc.get_freeze_count())"
    )
    assert printed == ["True", "0"]
