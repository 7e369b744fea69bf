"""The command `offmodel plan` on the small study."""

import pytest

from orchestrator.cli import main


@pytest.fixture
def planned(small, tmp_path, monkeypatch, capsys):
    """The exit status and all output of `offmodel plan` on the small study, with overrides."""
    small()  # writes the file

    def act(*overrides: str) -> tuple[int, str]:
        words = ["plan", str(tmp_path / "small.yaml"), f"store={tmp_path / 'runs'}", *overrides]
        monkeypatch.setattr("sys.argv", ["offmodel", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), "".join(capsys.readouterr())

    return act
