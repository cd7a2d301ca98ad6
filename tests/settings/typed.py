"""Settings as an operator types them."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from exporter.settings import Settings, WrongSettings, load

NOTHING: Mapping[str, object] = {}
UNSET: Mapping[str, str] = {}


def typed(
    folder: Path, text: str, *, flags: Mapping[str, object] = NOTHING, environ: Mapping[str, str] = UNSET
) -> Settings:
    """The settings that a file with this text, these flags and these variables make."""
    file = folder / "sidecar.yml"
    file.write_text(text)
    return load(flags, file=file, environ=environ)


def told(
    folder: Path, text: str, *, flags: Mapping[str, object] = NOTHING, environ: Mapping[str, str] = UNSET
) -> list[str]:
    """What the operator is told of wrong ones, the folder left out."""
    with pytest.raises(WrongSettings) as wrong:
        typed(folder, text, flags=flags, environ=environ)
    return [str(mistake).replace(f"{folder}/", "") for mistake in wrong.value.mistakes]


def url(address: str, **more: str) -> Mapping[str, object]:
    """The flags that a URL on the command line makes."""
    return {"targets": [{"url": address, **more}]}
