"""Variables of the environment as settings in their sections, as pydantic-settings takes them apart."""

from collections.abc import Mapping

from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

from exporter.settings.model import Settings


class _Variables(Settings, BaseSettings):
    """The settings, as variables name them; each kind of value decodes its own text."""

    model_config = SettingsConfigDict(enable_decoding=False)


def nested(told: Mapping[str, str], *, prefix: str, delimiter: str) -> dict[str, object]:
    """The settings that variables hold, each in its section; a value is a text still."""
    source = EnvSettingsSource(_Variables, env_prefix=prefix, env_nested_delimiter=delimiter)
    source.env_vars = {name.lower(): text for name, text in told.items()}
    given: dict[str, object] = source()
    return given
